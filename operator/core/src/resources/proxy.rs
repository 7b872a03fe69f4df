//! HAProxy and its agent: the Deployment, the Service that clients connect to, the `ConfigMap` and
//! the agent's identity.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, ConfigMapVolumeSource, Container, DownwardAPIProjection,
    DownwardAPIVolumeFile, EmptyDirVolumeSource, EnvVar, KeyToPath, ObjectFieldSelector, PodSpec,
    PodTemplateSpec, Probe, ProjectedVolumeSource, Service, ServiceAccount, ServiceAccountTokenProjection,
    ServicePort, ServiceSpec, TCPSocketAction, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wsc_contract::env::agent;
use wsc_contract::files::{BACKENDS, CONFIG_FOLDER, CONFIGURATION, MASTER_SOCKET, RUN_FOLDER, SETTINGS};
use wsc_contract::labels::Component;
use wsc_contract::{names, paths, ports};
use wsc_haproxy::RenderedConfig;

use super::metadata::{object_meta, selector, selector_labels, stamp};
use super::pod::{container, deployed_pod_meta, from_field, http_probe, pod_spec, port, sysctls, value};
use crate::quantity::{Defaults, with_defaults};
use crate::validate::ValidCluster;

const TOKEN_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Time of the tunnels of a terminating proxy; HAProxy then closes the rest.
const GRACE_SECONDS: i64 = 300;
/// Time for clients to reconnect to the new proxy before the rollout continues with the next one.
const MIN_READY_SECONDS: i32 = 300;
/// Pulling an image on a slow node and `MIN_READY_SECONDS` fit in.
const PROGRESS_DEADLINE_SECONDS: i32 = 1200;
/// The kubelet renews the token when 80 % of this have passed.
const TOKEN_SECONDS: i64 = 3600;
/// Sockets, one configuration and one state file of 2000 servers are below 2 MiB.
const RUN_FOLDER_SIZE: &str = "16Mi";

/// A tunnel holds no buffer while it is silent; 60,000 tunnels with their TLS-free sockets fit into
/// the limit.
const HAPROXY_DEFAULTS: Defaults = Defaults {
    cpu_request_millis: 100,
    memory_request_mebibytes: 128,
    memory_limit_mebibytes: 1024,
};
const AGENT_DEFAULTS: Defaults = Defaults {
    cpu_request_millis: 10,
    memory_request_mebibytes: 32,
    memory_limit_mebibytes: 128,
};

pub(super) fn service_account(cluster: &ValidCluster) -> ServiceAccount {
    stamp(ServiceAccount {
        metadata: meta(cluster, names::proxy(&cluster.name)),
        automount_service_account_token: Some(false),
        ..Default::default()
    })
}

/// The agent may watch its own `ConfigMap`, and nothing else.
pub(super) fn role(cluster: &ValidCluster) -> Role {
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    stamp(Role {
        metadata: meta(cluster, names::proxy(&cluster.name)),
        rules: Some(vec![PolicyRule {
            api_groups: Some(strings(&[""])),
            resources: Some(strings(&["configmaps"])),
            resource_names: Some(vec![names::haproxy_config(&cluster.name)]),
            verbs: strings(&["get", "list", "watch"]),
            ..Default::default()
        }]),
    })
}

pub(super) fn role_binding(cluster: &ValidCluster) -> RoleBinding {
    stamp(RoleBinding {
        metadata: meta(cluster, names::proxy(&cluster.name)),
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "Role".to_owned(),
            name: names::proxy(&cluster.name),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: names::proxy(&cluster.name),
            namespace: Some(cluster.namespace.clone()),
            ..Default::default()
        }]),
    })
}

/// What the operator publishes for the agents of this cluster.
pub(crate) fn config_map(cluster: &ValidCluster, rendered: &RenderedConfig) -> ConfigMap {
    stamp(ConfigMap {
        metadata: meta(cluster, names::haproxy_config(&cluster.name)),
        data: Some(BTreeMap::from([
            (CONFIGURATION.to_owned(), rendered.text.clone()),
            (BACKENDS.to_owned(), rendered.backend_set.to_json()),
            (SETTINGS.to_owned(), rendered.settings.to_json()),
        ])),
        ..Default::default()
    })
}

/// The Service that clients connect to.
pub(super) fn service(cluster: &ValidCluster) -> Service {
    let settings = &cluster.proxy.service;
    let mut metadata = meta(cluster, names::client_service(&cluster.name));
    if !settings.annotations.is_empty() {
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.extend(settings.annotations.clone());
    }
    stamp(Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(format!("{:?}", settings.type_)),
            selector: Some(selector_labels(cluster, Component::Proxy)),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            ports: Some(vec![ServicePort {
                name: Some(ports::PROXY.name.to_owned()),
                port: settings.port,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(ports::PROXY.name.to_owned())),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        ..Default::default()
    })
}

pub(super) fn deployment(cluster: &ValidCluster) -> Deployment {
    stamp(Deployment {
        metadata: meta(cluster, names::proxy(&cluster.name)),
        spec: Some(DeploymentSpec {
            replicas: Some(cluster.proxy.replicas),
            min_ready_seconds: Some(MIN_READY_SECONDS),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE_SECONDS),
            revision_history_limit: Some(3),
            selector: selector(cluster, Component::Proxy),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(deployed_pod_meta(cluster, Component::Proxy, &cluster.proxy.pod)),
                spec: Some(pod(cluster)),
            },
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn meta(cluster: &ValidCluster, name: String) -> ObjectMeta {
    object_meta(cluster, Component::Proxy, name)
}

fn pod(cluster: &ValidCluster) -> PodSpec {
    let mut spec = pod_spec(cluster, Component::Proxy, &cluster.proxy.pod);
    spec.service_account_name = Some(names::proxy(&cluster.name));
    spec.termination_grace_period_seconds = Some(GRACE_SECONDS);
    if let Some(security) = spec.security_context.as_mut() {
        security.sysctls = Some(sysctls([ports::PROXY.number, ports::AGENT.number]));
    }
    spec.init_containers = Some(vec![init(cluster)]);
    spec.containers = vec![haproxy(cluster), agent(cluster)];
    spec.volumes = Some(vec![
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::haproxy_config(&cluster.name),
                ..Default::default()
            }),
            ..Default::default()
        },
        Volume {
            name: "run".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".to_owned()),
                size_limit: Some(Quantity(RUN_FOLDER_SIZE.to_owned())),
            }),
            ..Default::default()
        },
        token_volume(),
    ]);
    spec
}

/// Writes the first configuration out of the mounted `ConfigMap`: a proxy starts while the API
/// server is away.
fn init(cluster: &ValidCluster) -> Container {
    Container {
        command: Some(vec!["wsc-proxy-agent".to_owned(), "init".to_owned()]),
        env: Some(agent_environment(cluster)),
        resources: Some(with_defaults(None, &AGENT_DEFAULTS)),
        volume_mounts: Some(folders()),
        ..container("init", &cluster.pins.proxy)
    }
}

fn haproxy(cluster: &ValidCluster) -> Container {
    let command = format!("haproxy -W -S {RUN_FOLDER}/{MASTER_SOCKET} -f {RUN_FOLDER}/{CONFIGURATION}");
    Container {
        command: Some(command.split(' ').map(str::to_owned).collect()),
        env: Some(vec![from_field(agent::POD_NAME, "metadata.name")]),
        ports: Some(vec![port(ports::PROXY.name, ports::PROXY.number)]),
        resources: Some(with_defaults(
            cluster.proxy.pod.resources.as_ref(),
            &HAPROXY_DEFAULTS,
        )),
        // Only that it accepts: readiness is the agent's word, and it speaks through HAProxy's
        // socket.
        liveness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction {
                port: IntOrString::String(ports::PROXY.name.to_owned()),
                ..Default::default()
            }),
            initial_delay_seconds: Some(10),
            period_seconds: Some(10),
            timeout_seconds: Some(5),
            failure_threshold: Some(3),
            ..Default::default()
        }),
        volume_mounts: Some(folders()),
        ..container("haproxy", &cluster.pins.proxy)
    }
}

fn agent(cluster: &ValidCluster) -> Container {
    let mut mounts = folders();
    mounts.push(VolumeMount {
        name: "token".to_owned(),
        mount_path: TOKEN_FOLDER.to_owned(),
        read_only: Some(true),
        ..Default::default()
    });
    Container {
        command: Some(vec!["wsc-proxy-agent".to_owned(), "run".to_owned()]),
        env: Some(agent_environment(cluster)),
        ports: Some(vec![port(ports::AGENT.name, ports::AGENT.number)]),
        resources: Some(with_defaults(None, &AGENT_DEFAULTS)),
        readiness_probe: Some(Probe {
            period_seconds: Some(1),
            timeout_seconds: Some(2),
            failure_threshold: Some(3),
            ..http_probe(paths::READYZ, ports::AGENT.name)
        }),
        liveness_probe: Some(Probe {
            initial_delay_seconds: Some(30),
            period_seconds: Some(10),
            timeout_seconds: Some(5),
            failure_threshold: Some(3),
            ..http_probe(paths::LIVEZ, ports::AGENT.name)
        }),
        volume_mounts: Some(mounts),
        ..container("agent", &cluster.pins.proxy)
    }
}

fn agent_environment(cluster: &ValidCluster) -> Vec<EnvVar> {
    vec![
        from_field(agent::POD_NAME, "metadata.name"),
        from_field(agent::POD_NAMESPACE, "metadata.namespace"),
        value(agent::CLUSTER, &cluster.name),
        value(agent::LOG_FORMAT, "json"),
    ]
}

fn folders() -> Vec<VolumeMount> {
    vec![
        VolumeMount {
            name: "config".to_owned(),
            mount_path: CONFIG_FOLDER.to_owned(),
            read_only: Some(true),
            ..Default::default()
        },
        VolumeMount {
            name: "run".to_owned(),
            mount_path: RUN_FOLDER.to_owned(),
            ..Default::default()
        },
    ]
}

/// What an automatic mount would hold, for one container only: the pod itself has no token.
fn token_volume() -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            path: "token".to_owned(),
            expiration_seconds: Some(TOKEN_SECONDS),
            ..Default::default()
        }),
        ..Default::default()
    };
    let authority = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: "kube-root-ca.crt".to_owned(),
            items: Some(vec![KeyToPath {
                key: "ca.crt".to_owned(),
                path: "ca.crt".to_owned(),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let namespace = VolumeProjection {
        downward_api: Some(DownwardAPIProjection {
            items: Some(vec![DownwardAPIVolumeFile {
                path: "namespace".to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    field_path: "metadata.namespace".to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            }]),
        }),
        ..Default::default()
    };
    Volume {
        name: "token".to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![token, authority, namespace]),
            ..Default::default()
        }),
        ..Default::default()
    }
}
