//! The Restricted Pod Security Standard, as far as a pod of ours could break it.

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// Sysctls that the standard calls safe, among those that we use.
const SAFE_SYSCTLS: [&str; 2] = ["net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports"];

/// What the standard, and our own stricter rules, find wrong with a pod.
pub(super) fn violations(spec: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut require = |holds: bool, what: &str| {
        if !holds {
            found.push(what.to_owned());
        }
    };
    let pod = spec.security_context.clone().unwrap_or_default();
    require(pod.run_as_non_root == Some(true), "runAsNonRoot");
    require(pod.run_as_user.is_some_and(|user| user > 0), "runAsUser");
    require(
        pod.seccomp_profile
            .is_some_and(|profile| profile.type_ == "RuntimeDefault"),
        "seccompProfile",
    );
    let sysctls = pod.sysctls.unwrap_or_default();
    require(
        sysctls.iter().all(|s| SAFE_SYSCTLS.contains(&s.name.as_str())),
        "sysctls",
    );
    require(spec.host_network.is_none(), "hostNetwork");
    require(spec.host_pid.is_none(), "hostPID");
    require(spec.host_ipc.is_none(), "hostIPC");
    require(spec.share_process_namespace.is_none(), "shareProcessNamespace");
    require(
        spec.automount_service_account_token == Some(false),
        "automountServiceAccountToken",
    );
    require(spec.enable_service_links == Some(false), "enableServiceLinks");
    for volume in spec.volumes.iter().flatten() {
        let admitted = volume.config_map.is_some()
            || volume.empty_dir.is_some()
            || volume.projected.is_some()
            || volume.secret.is_some();
        require(admitted, "volumes");
    }
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        for what in container_violations(container) {
            require(false, &format!("{}: {what}", container.name));
        }
    }
    found
}

fn container_violations(container: &Container) -> Vec<&'static str> {
    let security = container.security_context.clone().unwrap_or_default();
    let capabilities = security.capabilities.unwrap_or_default();
    let resources = container.resources.clone().unwrap_or_default();
    let ports = container.ports.iter().flatten();
    [
        (
            security.allow_privilege_escalation == Some(false),
            "allowPrivilegeEscalation",
        ),
        (
            security.read_only_root_filesystem == Some(true),
            "readOnlyRootFilesystem",
        ),
        (security.privileged.is_none(), "privileged"),
        (
            security.run_as_user.is_none() && security.run_as_non_root.is_none(),
            "runAs of the container",
        ),
        (
            capabilities.drop.as_deref() == Some(&["ALL".to_owned()]),
            "capabilities.drop",
        ),
        (capabilities.add.is_none(), "capabilities.add"),
        (
            resources.limits.unwrap_or_default().contains_key("memory"),
            "memory limit",
        ),
        (resources.requests.unwrap_or_default().len() >= 2, "requests"),
        (ports.clone().all(|port| port.host_port.is_none()), "hostPort"),
    ]
    .into_iter()
    .filter(|(holds, _)| !holds)
    .map(|(_, what)| what)
    .collect()
}
