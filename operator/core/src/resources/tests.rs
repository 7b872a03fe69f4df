//! The rendered children: snapshots, and the rules that all of them must follow.

mod fixtures;
mod on_change;
mod pss;
mod templates;

use k8s_openapi::api::core::v1::{PodSpec, SecurityContext};
use wsc_contract::labels;
use wsc_haproxy::{BackendSet, RenderedConfig, ServerOptions, Settings};

use super::*;
use crate::testing::cluster;
use fixtures::{FULL, SIX_LINES, cluster_with};

/// Kind, name and YAML of every child.
fn documents(cluster: &ValidCluster) -> Vec<(String, String)> {
    let document = |child: &Child| match child {
        Child::ServiceAccount(object) => ("serviceaccount", serde_yaml::to_string(object)),
        Child::Role(object) => ("role", serde_yaml::to_string(object)),
        Child::RoleBinding(object) => ("rolebinding", serde_yaml::to_string(object)),
        Child::NetworkPolicy(object) => ("networkpolicy", serde_yaml::to_string(object)),
        Child::ConfigMap(object) => ("configmap", serde_yaml::to_string(object)),
        Child::Service(object) => ("service", serde_yaml::to_string(object)),
        Child::Deployment(object) => ("deployment", serde_yaml::to_string(object)),
    };
    children(cluster, &BTreeSet::new())
        .iter()
        .map(|child| {
            let (kind, yaml) = document(child);
            let name = child.metadata().name.clone().unwrap();
            (format!("{kind}-{name}"), yaml.unwrap())
        })
        .collect()
}

/// The pods that a cluster is made of: server, then those of the Deployments.
fn pod_specs(cluster: &ValidCluster) -> Vec<PodSpec> {
    let deployments = children(cluster, &BTreeSet::new())
        .into_iter()
        .filter_map(|child| match child {
            Child::Deployment(deployment) => deployment.spec.and_then(|spec| spec.template.spec),
            _ => None,
        });
    server_pod(cluster, 0, "/ws")
        .spec
        .into_iter()
        .chain(deployments)
        .collect()
}

fn rendered() -> RenderedConfig {
    let options = ServerOptions {
        check_interval_ms: 2000,
        check_fast_interval_ms: 500,
        fall: 2,
        rise: 1,
        slowstart_seconds: 10,
    };
    RenderedConfig {
        text: "global\n".to_owned(),
        backend_set: BackendSet::new("0123456789abcdef".to_owned(), options, Vec::new()),
        settings: Settings::new("/ws", "/ws", Vec::new()),
    }
}

#[test]
fn every_object_of_the_six_line_resource() {
    let cluster = cluster(SIX_LINES);
    for (name, yaml) in documents(&cluster) {
        insta::assert_snapshot!(format!("six-lines-{name}"), yaml);
    }
    insta::assert_snapshot!(
        "six-lines-pod",
        serde_yaml::to_string(&server_pod(&cluster, 17, "/ws")).unwrap()
    );
    insta::assert_snapshot!(
        "six-lines-configmap",
        serde_yaml::to_string(&config_map(&cluster, &rendered())).unwrap()
    );
    let secret = redis_secret(&cluster, "correct horse");
    insta::assert_snapshot!("six-lines-secret", serde_yaml::to_string(&secret).unwrap());
}

#[test]
fn every_object_of_a_full_resource() {
    let cluster = cluster(FULL);
    for (name, yaml) in documents(&cluster) {
        insta::assert_snapshot!(format!("full-{name}"), yaml);
    }
    insta::assert_snapshot!(
        "full-pod",
        serde_yaml::to_string(&server_pod(&cluster, 3, "/ws")).unwrap()
    );
}

#[test]
fn children_are_in_apply_order() {
    let names = |spec| {
        documents(&cluster(spec))
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(SIX_LINES),
        [
            "serviceaccount-chat-proxy",
            "role-chat-proxy",
            "rolebinding-chat-proxy",
            "networkpolicy-chat",
            "networkpolicy-chat-proxy",
            "networkpolicy-chat-redis",
            "service-chat",
            "service-chat-redis",
            "deployment-chat-redis",
            "deployment-chat-proxy",
        ]
    );
    let external = cluster_with("redis", "external: {url: 'redis://cache.example.org:6380/2'}");
    assert!(
        documents(&external)
            .iter()
            .all(|(name, _)| !name.contains("redis"))
    );
}

#[test]
fn every_child_has_owner_labels_and_hash() {
    let cluster = cluster(SIX_LINES);
    let mut hashes = std::collections::BTreeSet::new();
    for child in children(&cluster, &BTreeSet::new()) {
        let metadata = child.metadata();
        let owner = &metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!(
            (owner.uid.as_str(), owner.controller),
            (cluster.uid.as_str(), Some(true))
        );
        let labels = metadata.labels.as_ref().unwrap();
        assert_eq!(labels[labels::CLUSTER], "chat");
        assert!(hashes.insert(metadata.annotations.as_ref().unwrap()[labels::APPLIED_HASH].clone()));
    }
    assert_eq!(hashes.len(), 10);
}

#[test]
fn service_keeps_the_annotations_of_users() {
    let cluster = cluster(FULL);
    let service = proxy::service(&cluster);
    let annotations = service.metadata.annotations.unwrap();
    assert_eq!(annotations["example.org/load-balancer"], "internal");
    assert!(annotations.contains_key(labels::APPLIED_HASH));
}

#[test]
fn every_pod_meets_the_restricted_standard() {
    for spec in [SIX_LINES, FULL] {
        let specs = pod_specs(&cluster(spec));
        assert!(specs.len() >= 2);
        for pod in specs {
            assert_eq!(pss::violations(&pod), [""; 0], "{}", pod.containers[0].name);
        }
    }
}

#[test]
fn restricted_standard_check_finds_each_breach() {
    let good = server_pod(&cluster(SIX_LINES), 0, "/ws").spec.unwrap();
    let breaches: [fn(&mut PodSpec); 6] = [
        |pod| pod.host_network = Some(true),
        |pod| pod.automount_service_account_token = None,
        |pod| pod.security_context = None,
        |pod| pod.containers[0].security_context = Some(SecurityContext::default()),
        |pod| pod.containers[0].resources = None,
        |pod| pod.volumes = Some(vec![k8s_openapi::api::core::v1::Volume::default()]),
    ];
    for (number, breach) in breaches.into_iter().enumerate() {
        let mut pod = good.clone();
        breach(&mut pod);
        assert!(!pss::violations(&pod).is_empty(), "breach {number}");
    }
}

#[test]
fn only_the_agent_holds_a_token() {
    for spec in pod_specs(&cluster(SIX_LINES)) {
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            let holds = container
                .volume_mounts
                .iter()
                .flatten()
                .any(|mount| mount.name == "token");
            assert_eq!(holds, container.name == "agent", "{}", container.name);
        }
    }
}

#[test]
fn template_hash_changes_with_the_pod() {
    let hash = template_hash(&cluster(SIX_LINES));
    assert_eq!(hash.len(), 10);
    for (section, yaml) in [
        ("server", "image: registry.example.org/chat:2"),
        ("server", "port: 8081"),
        ("server", "maxConnections: 9999"),
        ("server", "env: [{name: A, value: b}]"),
        ("server", "terminationGracePeriodSeconds: 61"),
        ("server", "resources: {requests: {cpu: 2}}"),
        ("server", "podLabels: {team: a}"),
        ("server", "priorityClassName: high"),
        ("redis", "external: {url: 'redis://cache.example.org'}"),
    ] {
        assert_ne!(
            template_hash(&cluster_with(section, yaml)),
            hash,
            "{section}: {yaml}"
        );
    }
    let mut restarted = cluster(SIX_LINES);
    restarted.restarted_at = Some("2026-11-24T12:00:00Z".to_owned());
    assert_ne!(template_hash(&restarted), hash, "restartedAt");
}

#[test]
fn template_hash_ignores_the_rest() {
    let hash = template_hash(&cluster(SIX_LINES));
    for (section, yaml) in [
        ("scaling", "{maxReplicas: 9, minReplicas: 3, buffer: 2}"),
        ("proxy", "replicas: 5"),
        ("proxy", "origins: ['https://example.org']"),
        ("server", "path: /socket"),
        ("proxy", "service: {port: 443, type: LoadBalancer}"),
        ("proxy", "sticky: {cookieName: other}"),
        ("redis", "managed: {resources: {limits: {memory: 1Gi}}}"),
        ("drain", "naturalSeconds: 1"),
        ("drain", "notice: {closeCode: 4000, jitterSeconds: 1}"),
        ("disruption", "maxMovesPerSecond: 7"),
        ("disruption", "movesPerMinute: 5"),
    ] {
        assert_eq!(
            template_hash(&cluster_with(section, yaml)),
            hash,
            "{section}: {yaml}"
        );
    }
    let (one, two) = (
        server_pod(&cluster(SIX_LINES), 1, "/ws"),
        server_pod(&cluster(SIX_LINES), 2, "/chat"),
    );
    for pod in [one, two] {
        assert_eq!(pod.metadata.labels.unwrap()[labels::TEMPLATE_HASH], hash);
    }
}

#[test]
fn user_labels_never_replace_operator_labels() {
    let mut chat = cluster(SIX_LINES);
    chat.server
        .pod
        .pod_labels
        .insert(labels::CLUSTER.to_owned(), "other".to_owned());
    let labels = server_pod(&chat, 1, "/ws").metadata.labels.unwrap();
    assert_eq!(labels[labels::CLUSTER], "chat");
}

#[test]
fn safe_to_evict_of_the_user_wins() {
    let evictable = |settings: &str| {
        let spec = format!(
            "scaling: {{maxReplicas: 4}}\nserver: {settings}\nproxy: {settings}\nredis: {{managed: {settings}}}"
        );
        let cluster = cluster(&spec);
        let server = server_pod(&cluster, 0, "/ws").metadata;
        let deployments = children(&cluster, &BTreeSet::new()).into_iter();
        let templates = deployments.filter_map(|child| match child {
            Child::Deployment(deployment) => deployment.spec?.template.metadata,
            _ => None,
        });
        let pods: Vec<_> = templates.chain([server]).collect();
        pods.iter()
            .map(|pod| pod.annotations.as_ref().unwrap()[labels::SAFE_TO_EVICT].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        evictable("{}"),
        ["true", "false", "false"],
        "Redis has no clients"
    );
    for value in ["true", "false"] {
        let annotation = format!("{{podAnnotations: {{{}: '{value}'}}}}", labels::SAFE_TO_EVICT);
        assert_eq!(evictable(&annotation), [value; 3]);
    }
}

#[test]
fn secret_holds_password_and_acl_its_hash() {
    let cluster = cluster(SIX_LINES);
    let data = redis_secret(&cluster, "correct horse").string_data.unwrap();
    assert_eq!(data["password"], "correct horse");
    assert!(!data["users.acl"].contains("correct"));
    assert!(redis_secret_name(&cluster).starts_with("chat-redis-"));
    let mut again = cluster.clone();
    again.uid = "another".to_owned();
    assert_ne!(redis_secret_name(&again), redis_secret_name(&cluster));
}

#[test]
fn the_endpoint_is_what_clients_write() {
    let inside = cluster(SIX_LINES);
    assert_eq!(endpoint(&inside, None), "ws://chat.ns.svc:80/ws");
    assert_eq!(
        endpoint(&inside, Some("192.0.2.1")),
        "ws://chat.ns.svc:80/ws",
        "not of type LoadBalancer"
    );
    let outside = cluster_with("proxy", "service: {type: LoadBalancer, port: 8000}");
    assert_eq!(endpoint(&outside, None), "ws://chat.ns.svc:8000/ws");
    assert_eq!(endpoint(&outside, Some("192.0.2.1")), "ws://192.0.2.1:8000/ws");
    assert_eq!(
        endpoint(&outside, Some("2001:db8::1")),
        "ws://[2001:db8::1]:8000/ws"
    );
    assert_eq!(
        endpoint(&outside, Some("lb.example.org")),
        "ws://lb.example.org:8000/ws"
    );
}
