//! Server pods, made directly and not by a Deployment: only so can the operator choose which one leaves.

use k8s_openapi::api::core::v1::{Container, ContainerPort, EnvVar, Pod, Probe};
use wsc_api::names::{self, Component};
use wsc_api::v1alpha1::PodSettings;

use super::metadata::{hash_of, object_meta};
use super::pod::{container, from_field, from_secret, http_probe, pod_meta, pod_spec, sysctls, value};
use super::redis;
use crate::quantity::{Defaults, mebibytes, with_defaults};
use crate::validate::{RedisTarget, ValidCluster};

/// Of `terminationGracePeriodSeconds`: what is left for the process to end after the last client was asked to move.
const EXIT_SECONDS: i64 = 5;
/// A hung server is not waited for: its clients are cut as soon as the kubelet knows.
const HUNG_GRACE_SECONDS: i64 = 5;
/// Memory of a server without connections, in MiB.
const BASE_REQUEST_MEBIBYTES: u64 = 64;
const BASE_LIMIT_MEBIBYTES: u64 = 128;
/// What a connection needs: mostly idle ones at the request, ones with full kernel buffers and messages on the way at the limit.
const REQUEST_BYTES_PER_CONNECTION: u64 = 8 << 10;
const LIMIT_BYTES_PER_CONNECTION: u64 = 64 << 10;

/// The server pod with this serial, as it is created.
pub(crate) fn server_pod(cluster: &ValidCluster, serial: i64) -> Pod {
    let mut pod = template(cluster);
    let hash = hash_of(&pod);
    let owned = object_meta(
        cluster,
        Component::Server,
        names::server_pod(&cluster.name, serial),
    );
    pod.metadata.name = owned.name;
    pod.metadata.namespace = owned.namespace;
    pod.metadata.owner_references = owned.owner_references;
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(names::TEMPLATE_HASH_LABEL.to_owned(), hash);
    labels.insert(names::SERIAL_LABEL.to_owned(), serial.to_string());
    labels.insert(names::STATE_LABEL.to_owned(), "Starting".to_owned());
    pod
}

/// Hash of what a server pod is made of, out of the spec alone: what admission adds to a live pod never counts.
pub(crate) fn template_hash(cluster: &ValidCluster) -> String {
    hash_of(&template(cluster))
}

/// A server pod without what differs from pod to pod.
fn template(cluster: &ValidCluster) -> Pod {
    let settings = &cluster.server.pod;
    let mut metadata = pod_meta(cluster, Component::Server, settings);
    if let Some(at) = &cluster.restarted_at {
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(names::RESTARTED_AT_ANNOTATION.to_owned(), at.clone());
    }
    let mut spec = pod_spec(cluster, Component::Server, settings);
    spec.termination_grace_period_seconds = Some(cluster.server.termination_grace_period_seconds);
    if let Some(security) = spec.security_context.as_mut() {
        security.sysctls = Some(sysctls([cluster.server.port, names::CONTROL_PORT]));
    }
    spec.containers = vec![server(cluster, settings)];
    Pod {
        metadata,
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
            port("ws", cluster.server.port),
            port("control", names::CONTROL_PORT),
        ]),
        resources: Some(with_defaults(
            settings.resources.as_ref(),
            &defaults(cluster.server.max_connections),
        )),
        readiness_probe: Some(Probe {
            period_seconds: Some(1),
            timeout_seconds: Some(2),
            failure_threshold: Some(3),
            ..http_probe("/readyz", "control")
        }),
        // The delay is for a start on a busy node; a readiness probe has none, so a quick start is seen at once.
        liveness_probe: Some(Probe {
            initial_delay_seconds: Some(15),
            period_seconds: Some(5),
            timeout_seconds: Some(5),
            failure_threshold: Some(3),
            termination_grace_period_seconds: Some(HUNG_GRACE_SECONDS),
            ..http_probe("/livez", "control")
        }),
        ..container("server", &cluster.images.server)
    }
}

/// docs/contracts.md, "Operator -> server pod: environment".
fn environment(cluster: &ValidCluster) -> Vec<EnvVar> {
    let server = &cluster.server;
    let drain_seconds = (server.termination_grace_period_seconds - EXIT_SECONDS).max(0);
    let mut env = vec![
        from_field("POD_NAME", "metadata.name"),
        value("WSC_PORT", &server.port),
        value("WSC_CONTROL_PORT", &names::CONTROL_PORT),
        value("WSC_PATH", &server.path),
        value("WSC_MAX_CONNECTIONS", &server.max_connections),
        value("WSC_BROKER", "redis"),
    ];
    match &cluster.redis {
        RedisTarget::Managed(_) => env.extend([
            value(
                "WSC_REDIS_URL",
                &format!("redis://{}:{}", names::redis(&cluster.name), names::REDIS_PORT),
            ),
            value("WSC_REDIS_USERNAME", redis::USER),
            from_secret("WSC_REDIS_PASSWORD", &redis::password_reference(cluster)),
        ]),
        RedisTarget::Url(url) => env.push(value("WSC_REDIS_URL", url)),
        RedisTarget::SecretRef(reference) => env.push(from_secret("WSC_REDIS_URL", reference)),
    }
    env.extend([
        value(
            "WSC_REDIS_PREFIX",
            &names::redis_prefix(&cluster.namespace, &cluster.name),
        ),
        value("WSC_ORIGINS", &origins(cluster)),
        value("WSC_TRUST_PROXY", "true"),
        value(
            "WSC_MAX_SHEDS_PER_SECOND",
            &cluster.disruption.max_moves_per_second,
        ),
        value("WSC_DRAIN_SECONDS", &drain_seconds),
        value("WSC_CLOSE_CODE", &cluster.drain.close_code),
        value("WSC_CLOSE_JITTER_SECONDS", &cluster.drain.jitter_seconds),
        value("WSC_LOG_FORMAT", "json"),
    ]);
    env
}

fn origins(cluster: &ValidCluster) -> String {
    let origins: Vec<String> = cluster.proxy.origins.iter().map(ToString::to_string).collect();
    origins.join(",")
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

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..Default::default()
    }
}
