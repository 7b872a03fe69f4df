//! Server pods, made directly and not by a Deployment: so that the operator chooses which one
//! drains.

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use wsc_api::v1alpha1::PodSettings;
use wsc_contract::env::server as env;
use wsc_contract::labels::{self, Component};
use wsc_contract::origin::OriginPattern;
use wsc_contract::{names, paths, ports};

use super::metadata::{hash_of, object_meta};
use super::pod::{container, from_field, from_secret, http_probe, pod_meta, pod_spec, port, sysctls, value};
use super::redis;
use crate::observed::Listener;
use crate::quantity::{Defaults, mebibytes, with_defaults};
use crate::validate::{RedisTarget, ValidCluster};

/// Name of the container that serves clients.
pub const CONTAINER: &str = "server";
/// Of `terminationGracePeriodSeconds`: what is left for the process to end after the last close
/// frame.
const EXIT_SECONDS: i64 = 5;
/// Grace period after a failed liveness probe: a hung server closes no connection.
const HUNG_GRACE_SECONDS: i64 = 5;
/// The largest value of `disruption.maxMovesPerSecond`.
const MAX_SHEDS_PER_SECOND: u32 = 10_000;
/// Memory of a server without connections, in MiB.
const BASE_REQUEST_MEBIBYTES: u64 = 64;
const BASE_LIMIT_MEBIBYTES: u64 = 128;
/// What a connection needs: mostly idle ones at the request, ones with full kernel buffers and
/// messages on the way at the limit.
const REQUEST_BYTES_PER_CONNECTION: u64 = 8 << 10;
const LIMIT_BYTES_PER_CONNECTION: u64 = 64 << 10;

/// Labels and annotations of the spec, with the annotation that lists their keys.
fn add_common(cluster: &ValidCluster, meta: &mut ObjectMeta) {
    let mut common = cluster.common.of_new_pod(&cluster.server.pod);
    let keys = common.keys();
    let keys = keys.map(|keys| (labels::COMMON_METADATA.to_owned(), keys));
    common.annotations.extend(keys);
    common.add_to(meta);
}

/// The server pod with this serial, as it is created. `path` is that of the pods that are there.
pub(crate) fn server_pod(cluster: &ValidCluster, serial: i64, path: &str) -> Pod {
    let mut pod = template(cluster);
    let hash = hash_of(&pod);
    for container in pod.spec.iter_mut().flat_map(|spec| &mut spec.containers) {
        // No part of the template: a pod with other values is not outdated. HAProxy maps the path;
        // `/shed` carries the notice, which counts here for a pod that is deleted before it gets
        // one.
        container.env.get_or_insert_default().extend([
            value(env::PATH, path),
            value(env::CLOSE_CODE, &cluster.drain.close_code),
            value(env::CLOSE_JITTER_SECONDS, &cluster.drain.jitter_seconds),
        ]);
    }
    let owned = object_meta(
        cluster,
        Component::Server,
        names::server_pod(&cluster.name, serial),
    );
    pod.metadata.name = owned.name;
    pod.metadata.namespace = owned.namespace;
    pod.metadata.owner_references = owned.owner_references;
    add_common(cluster, &mut pod.metadata);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(labels::TEMPLATE_HASH.to_owned(), hash);
    labels.insert(labels::SERIAL.to_owned(), serial.to_string());
    labels.insert(labels::STATE.to_owned(), "Starting".to_owned());
    pod
}

/// Image of a live server pod.
pub fn image(pod: &Pod) -> Option<&str> {
    container_of(pod)?.image.as_deref()
}

/// Client port and path of a live server pod.
pub fn listener(pod: &Pod) -> Listener {
    let Some(server) = container_of(pod) else {
        return Listener::default();
    };
    let mut ports = server.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref() == Some(ports::SERVER.name));
    let mut variables = server.env.iter().flatten();
    let path = variables.find(|variable| variable.name == env::PATH);
    Listener {
        port: port.and_then(|port| u16::try_from(port.container_port).ok()),
        path: path.and_then(|path| path.value.clone()),
    }
}

fn container_of(pod: &Pod) -> Option<&Container> {
    let mut containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.find(|container| container.name == CONTAINER)
}

/// Hash of what a server pod is made of, out of spec and pins alone: what admission adds to a live
/// pod never counts.
pub(crate) fn template_hash(cluster: &ValidCluster) -> String {
    hash_of(&template(cluster))
}

/// Metadata of a server pod without what differs from pod to pod, and without what is written on
/// live pods.
pub(crate) fn template_meta(cluster: &ValidCluster) -> ObjectMeta {
    let mut metadata = pod_meta(cluster, Component::Server, &cluster.server.pod);
    if let Some(at) = &cluster.restarted_at {
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(labels::RESTARTED_AT.to_owned(), at.clone());
    }
    metadata
}

/// The spec of a server pod without what differs from pod to pod.
pub(crate) fn server_pod_spec(cluster: &ValidCluster) -> PodSpec {
    template(cluster).spec.unwrap_or_default()
}

/// A server pod without what differs from pod to pod.
fn template(cluster: &ValidCluster) -> Pod {
    let settings = &cluster.server.pod;
    let mut spec = pod_spec(cluster, Component::Server, settings);
    spec.termination_grace_period_seconds = Some(cluster.server.termination_grace_period_seconds);
    if let Some(security) = spec.security_context.as_mut() {
        security.sysctls = Some(sysctls([cluster.server.port, ports::CONTROL.number]));
    }
    spec.containers = vec![server(cluster, settings)];
    Pod {
        metadata: template_meta(cluster),
        spec: Some(spec),
        ..Default::default()
    }
}

fn server(cluster: &ValidCluster, settings: &PodSettings) -> Container {
    let mut env = environment(cluster);
    env.extend(cluster.server.env.iter().map(user_variable));
    Container {
        env: Some(env),
        ports: Some(vec![
            port(ports::SERVER.name, cluster.server.port),
            port(ports::CONTROL.name, ports::CONTROL.number),
        ]),
        resources: Some(with_defaults(
            settings.resources.as_ref(),
            &defaults(cluster.server.max_connections),
        )),
        readiness_probe: Some(Probe {
            period_seconds: Some(1),
            timeout_seconds: Some(2),
            failure_threshold: Some(3),
            ..http_probe(paths::READYZ, ports::CONTROL.name)
        }),
        // The delay is for a start on a busy node; a readiness probe has none, so a quick start is
        // seen at once.
        liveness_probe: Some(Probe {
            initial_delay_seconds: Some(15),
            period_seconds: Some(5),
            timeout_seconds: Some(5),
            failure_threshold: Some(3),
            termination_grace_period_seconds: Some(HUNG_GRACE_SECONDS),
            ..http_probe(paths::LIVEZ, ports::CONTROL.name)
        }),
        ..container(CONTAINER, cluster.server_image())
    }
}

/// The configuration of the server.
fn environment(cluster: &ValidCluster) -> Vec<EnvVar> {
    let server = &cluster.server;
    let drain_seconds = (server.termination_grace_period_seconds - EXIT_SECONDS).max(0);
    let mut variables = vec![
        from_field(env::POD_NAME, "metadata.name"),
        value(env::PORT, &server.port),
        value(env::CONTROL_PORT, &ports::CONTROL.number),
        value(env::MAX_CONNECTIONS, &server.max_connections),
        value(env::BROKER, "redis"),
    ];
    match &cluster.redis {
        RedisTarget::Managed(_) => variables.extend([
            value(
                env::REDIS_URL,
                &format!("redis://{}:{}", names::redis(&cluster.name), ports::REDIS.number),
            ),
            value(env::REDIS_USERNAME, redis::USER),
            from_secret(env::REDIS_PASSWORD, &redis::password_reference(cluster)),
        ]),
        RedisTarget::Url(url) => variables.push(value(env::REDIS_URL, url)),
        RedisTarget::SecretRef(reference) => variables.push(from_secret(env::REDIS_URL, reference)),
    }
    variables.extend([
        value(
            env::REDIS_PREFIX,
            &names::redis_prefix(&cluster.namespace, &cluster.name),
        ),
        // HAProxy decides, and changes without a rollout.
        value(env::ORIGINS, &OriginPattern::Any),
        value(env::TRUST_PROXY, "true"),
        // The operator paces the moves of the pool, and changes the pace without a rollout.
        value(env::MAX_SHEDS_PER_SECOND, &MAX_SHEDS_PER_SECOND),
        value(env::DRAIN_SECONDS, &drain_seconds),
        value(env::LOG_FORMAT, "json"),
    ]);
    variables
}

fn user_variable(variable: &wsc_api::v1alpha1::EnvVar) -> EnvVar {
    match &variable.value_from {
        Some(source) => from_secret(&variable.name, &source.secret_key_ref),
        None => value(&variable.name, variable.value.as_deref().unwrap_or_default()),
    }
}

fn defaults(max_connections: i64) -> Defaults {
    let connections = u64::try_from(max_connections).unwrap_or_default();
    Defaults {
        cpu_request_millis: 100,
        memory_request_mebibytes: BASE_REQUEST_MEBIBYTES
            + mebibytes(connections * REQUEST_BYTES_PER_CONNECTION),
        memory_limit_mebibytes: BASE_LIMIT_MEBIBYTES + mebibytes(connections * LIMIT_BYTES_PER_CONNECTION),
    }
}
