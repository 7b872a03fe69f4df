//! The managed Redis: a Deployment of one, its Service and the Secret with its password.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, ExecAction, KeyToPath, PodSpec, PodTemplateSpec, Probe, Secret,
    SecretVolumeSource, Service, ServicePort, ServiceSpec, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wsc_api::v1alpha1::{PodSettings, SecretKeyReference};
use wsc_contract::labels::Component;
use wsc_contract::{names, ports};

use super::metadata::{object_meta, selector, selector_labels, stamp};
use super::pod::{container, deployed_pod_meta, pod_spec, port};
use crate::hash::short_hex;
use crate::quantity::{Defaults, memory_limit_bytes, with_defaults};
use crate::validate::ValidCluster;

/// The user that server pods log in as.
pub(super) const USER: &str = "wsc";
const PASSWORD_KEY: &str = "password";
const ACL_KEY: &str = "users.acl";
const ACL_FOLDER: &str = "/etc/redis-acl";
const DATA_FOLDER: &str = "/data";

/// A pod on a lost node is replaced after this long. Kubernetes' own 300 s would be five minutes
/// without broadcasts.
const LOST_NODE_SECONDS: i64 = 30;
/// Nothing is written to disk, so a stop takes no time.
const GRACE_SECONDS: i64 = 10;

const DEFAULTS: Defaults = Defaults {
    cpu_request_millis: 50,
    memory_request_mebibytes: 64,
    memory_limit_mebibytes: 256,
};

/// What a server pod does with Redis, and nothing more: it logs in, tells its name, publishes and
/// subscribes below its own prefix.
const COMMANDS: &str =
    "-@all +hello +auth +ping +info +client|setname +client|setinfo +subscribe +unsubscribe +publish";

/// `chat-redis-<hash of the uid>`, and a number once it was lost: the Secret is never read, and
/// another password needs another name, which replaces Redis and the server pods.
pub(crate) fn redis_secret_name(cluster: &ValidCluster) -> String {
    let hash = short_hex(cluster.uid.as_bytes(), 4);
    let name = format!("{}-{hash}", names::redis(&cluster.name));
    match cluster.redis_secret_replacements {
        0 => name,
        replacements => format!("{name}-{replacements}"),
    }
}

/// The Secret with the password of the user `wsc`, and the ACL file that Redis reads. The file
/// holds only the password's hash.
pub fn redis_secret(cluster: &ValidCluster, password: &str) -> Secret {
    let hash = short_hex(password.as_bytes(), 32);
    let prefix = names::redis_prefix(&cluster.namespace, &cluster.name);
    let acl = format!(
        "user default on nopass resetkeys resetchannels -@all +ping\n\
         user {USER} on #{hash} resetkeys ~{prefix}* resetchannels &{prefix}* {COMMANDS}\n"
    );
    Secret {
        metadata: meta(cluster, redis_secret_name(cluster)),
        type_: Some("Opaque".to_owned()),
        immutable: Some(true),
        string_data: Some(BTreeMap::from([
            (PASSWORD_KEY.to_owned(), password.to_owned()),
            (ACL_KEY.to_owned(), acl),
        ])),
        ..Default::default()
    }
}

/// Where server pods find the password.
pub(super) fn password_reference(cluster: &ValidCluster) -> SecretKeyReference {
    SecretKeyReference {
        name: redis_secret_name(cluster),
        key: PASSWORD_KEY.to_owned(),
    }
}

pub(super) fn service(cluster: &ValidCluster) -> Service {
    stamp(Service {
        metadata: meta(cluster, names::redis(&cluster.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector_labels(cluster, Component::Redis)),
            ip_family_policy: Some("PreferDualStack".to_owned()),
            ports: Some(vec![ServicePort {
                name: Some(ports::REDIS.name.to_owned()),
                port: i32::from(ports::REDIS.number),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(ports::REDIS.name.to_owned())),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// Not a StatefulSet, which would wait for ever for a pod on a lost node; and never two at once, or
/// pods would not hear each other.
pub(super) fn deployment(cluster: &ValidCluster, settings: &PodSettings) -> Deployment {
    stamp(Deployment {
        metadata: meta(cluster, names::redis(&cluster.name)),
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            revision_history_limit: Some(3),
            selector: selector(cluster, Component::Redis),
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                ..Default::default()
            }),
            template: PodTemplateSpec {
                metadata: Some(deployed_pod_meta(cluster, Component::Redis, settings)),
                spec: Some(pod(cluster, settings)),
            },
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn meta(cluster: &ValidCluster, name: String) -> ObjectMeta {
    object_meta(cluster, Component::Redis, name)
}

fn pod(cluster: &ValidCluster, settings: &PodSettings) -> PodSpec {
    let mut spec = pod_spec(cluster, Component::Redis, settings);
    spec.termination_grace_period_seconds = Some(GRACE_SECONDS);
    spec.tolerations = Some(tolerations(settings));
    spec.containers = vec![redis(cluster, settings)];
    spec.volumes = Some(vec![
        Volume {
            name: "acl".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(redis_secret_name(cluster)),
                items: Some(vec![KeyToPath {
                    key: ACL_KEY.to_owned(),
                    path: ACL_KEY.to_owned(),
                    ..Default::default()
                }]),
                // Its own group only; the kubelet hands the files to it.
                default_mode: Some(0o440),
                ..Default::default()
            }),
            ..Default::default()
        },
        Volume {
            name: "data".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Default::default()
        },
    ]);
    spec
}

fn redis(cluster: &ValidCluster, settings: &PodSettings) -> Container {
    let resources = with_defaults(settings.resources.as_ref(), &DEFAULTS);
    let args = arguments(memory_limit_bytes(&resources));
    let ping = Probe {
        exec: Some(ExecAction {
            command: Some(words(&format!("redis-cli -e -p {} ping", ports::REDIS.number))),
        }),
        period_seconds: Some(5),
        timeout_seconds: Some(3),
        failure_threshold: Some(3),
        ..Default::default()
    };
    Container {
        command: Some(vec!["redis-server".to_owned()]),
        args: Some(args),
        ports: Some(vec![port(ports::REDIS.name, ports::REDIS.number)]),
        resources: Some(resources),
        readiness_probe: Some(Probe {
            period_seconds: Some(2),
            ..ping.clone()
        }),
        liveness_probe: Some(Probe {
            initial_delay_seconds: Some(15),
            ..ping
        }),
        volume_mounts: Some(vec![
            VolumeMount {
                name: "acl".to_owned(),
                mount_path: ACL_FOLDER.to_owned(),
                read_only: Some(true),
                ..Default::default()
            },
            VolumeMount {
                name: "data".to_owned(),
                mount_path: DATA_FOLDER.to_owned(),
                ..Default::default()
            },
        ]),
        ..container("redis", &cluster.pins.redis)
    }
}

/// Nothing is kept over a restart. A subscriber that falls behind is cut at a quarter of the
/// memory, or at an eighth for a minute: Redis' own 32 MB are less than one burst to a large room.
fn arguments(memory_limit_bytes: Option<u64>) -> Vec<String> {
    let limit = memory_limit_bytes.unwrap_or(DEFAULTS.memory_limit_mebibytes << 20);
    let maxmemory = limit / 4 * 3;
    let (hard, soft) = (limit / 4, limit / 8);
    let mut args = words(&format!(
        "--port {} --dir {DATA_FOLDER} --aclfile {ACL_FOLDER}/{ACL_KEY} --appendonly no --maxmemory {maxmemory} \
         --maxmemory-policy noeviction --client-output-buffer-limit pubsub {hard} {soft} 60 --tcp-keepalive 30",
        ports::REDIS.number
    ));
    // Protected mode ignores ACLs: it would reject every client, since the default user may ping
    // without a password.
    args.extend(
        words("--protected-mode no --save")
            .into_iter()
            .chain([String::new()]),
    );
    args
}

/// The user's tolerations, and a short one for a lost node unless the user said something about it.
fn tolerations(settings: &PodSettings) -> Vec<Toleration> {
    let mut tolerations = settings.tolerations.clone();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if tolerations
            .iter()
            .all(|toleration| toleration.key.as_deref() != Some(key))
        {
            tolerations.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(LOST_NODE_SECONDS),
                ..Default::default()
            });
        }
    }
    tolerations
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
