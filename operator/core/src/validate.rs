//! From the resource as written to values that are safe to use in HAProxy, Redis and pods. The
//! schema of the CRD has the same rules; this is the second check, for an older CRD or none.

mod checks;
mod pods;
#[cfg(test)]
mod tests;
mod values;

use wsc_api::syntax;
use wsc_api::v1alpha1::{
    DisruptionSpec, DrainSpec, ProxySpec, RedisSpec, ScalingMode, ScalingSpec, ServerSpec, WebSocketCluster,
    WebSocketClusterSpec,
};
use wsc_contract::cookie::CookieNameError;
use wsc_contract::origin::OriginError;
use wsc_contract::{labels, ports};
use wsc_haproxy::{SameSite, Sticky, Timeouts};

use crate::common::CommonMetadata;

pub(crate) use values::{
    Amount, Disruption, DrainSettings, Mode, Proxy, RedisTarget, Rejected, Scaling, Server,
};
pub use values::{Images, Invalid, ValidCluster};

/// Parses a resource. Fails with the first thing that is wrong.
pub fn validate(resource: &WebSocketCluster, images: &Images) -> Result<ValidCluster, Invalid> {
    let metadata = &resource.metadata;
    let spec = &resource.spec;
    let name = checks::cluster_name(metadata.name.as_deref().unwrap_or_default())?;
    Ok(ValidCluster {
        name,
        namespace: checks::present("metadata.namespace", metadata.namespace.as_deref())?,
        uid: checks::present("metadata.uid", metadata.uid.as_deref())?,
        generation: metadata.generation.unwrap_or_default(),
        restarted_at: metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(labels::RESTARTED_AT).cloned()),
        operator_namespace: images.operator_namespace.clone(),
        pins: images.pins(),
        common: common(spec)?,
        scaling: scaling(mode(spec)?, &spec.scaling)?,
        server: server(&spec.server)?,
        redis: redis(&spec.redis)?,
        proxy: proxy(&spec.proxy)?,
        drain: drain(&spec.drain)?,
        disruption: disruption(&spec.disruption)?,
        redis_secret_replacements: resource
            .status
            .as_ref()
            .map_or(0, |status| status.redis_secret_replacements),
        rejected: None,
    })
}

fn common(spec: &WebSocketClusterSpec) -> Result<CommonMetadata, Invalid> {
    let WebSocketClusterSpec {
        labels, annotations, ..
    } = spec;
    checks::at_most("labels", labels.len(), 16)?;
    pods::added_labels("labels", labels)?;
    let (most, length) = (syntax::COMMON_ANNOTATIONS, syntax::COMMON_ANNOTATION_LENGTH);
    pods::annotations("annotations", annotations, most, length)?;
    Ok(CommonMetadata {
        labels: labels.clone(),
        annotations: annotations.clone(),
    })
}

fn mode(spec: &WebSocketClusterSpec) -> Result<Mode, Invalid> {
    if let Some(replicas) = spec.replicas {
        checks::range("replicas", replicas, 0, 2000)?;
    }
    match (spec.scaling.mode, spec.replicas) {
        (ScalingMode::Connections, _) => Ok(Mode::Connections),
        (ScalingMode::Replicas, Some(replicas)) => Ok(Mode::Replicas(replicas)),
        (ScalingMode::Replicas, None) => Err(checks::invalid(
            "replicas",
            "is required in scaling.mode Replicas",
        )),
    }
}

fn scaling(mode: Mode, spec: &ScalingSpec) -> Result<Scaling, Invalid> {
    let max_replicas = checks::range("scaling.maxReplicas", spec.max_replicas, 1, 2000)?;
    let min_replicas = checks::range("scaling.minReplicas", spec.min_replicas, 1, 2000)?;
    if min_replicas > max_replicas {
        return Err(checks::invalid(
            "scaling.minReplicas",
            "must not be above scaling.maxReplicas",
        ));
    }
    Ok(Scaling {
        mode,
        min_replicas,
        max_replicas,
        target_utilization_percent: checks::range(
            "scaling.targetUtilizationPercent",
            spec.target_utilization_percent,
            1,
            100,
        )?,
        buffer: checks::amount("scaling.buffer", &spec.buffer, 0..=2000, 0..=90)?,
        stabilization_window: checks::seconds(
            "scaling.behavior.scaleDown.stabilizationWindowSeconds",
            spec.behavior.scale_down.stabilization_window_seconds,
            0,
            3600,
        )?,
    })
}

fn server(spec: &ServerSpec) -> Result<Server, Invalid> {
    let image = spec.image.as_deref();
    let image = image
        .map(|image| checks::image("server.image", image))
        .transpose()?;
    let port: u16 = checks::number("server.port", spec.port, 1024, 65_535)?;
    if port == ports::CONTROL.number {
        return Err(checks::invalid(
            "server.port",
            format!("must not be {port}: it is the control port"),
        ));
    }
    checks::at_most("server.env", spec.env.len(), 64)?;
    for variable in &spec.env {
        checks::variable(variable)?;
    }
    pods::settings("server", &spec.pod)?;
    Ok(Server {
        image,
        port,
        path: checks::path(&spec.path)?,
        max_connections: i64::from(checks::range(
            "server.maxConnections",
            spec.max_connections,
            1,
            60_000,
        )?),
        start_deadline: checks::seconds(
            "server.startDeadlineSeconds",
            spec.start_deadline_seconds,
            30,
            86_400,
        )?,
        env: spec.env.clone(),
        termination_grace_period_seconds: i64::from(checks::range(
            "server.terminationGracePeriodSeconds",
            spec.termination_grace_period_seconds,
            10,
            3600,
        )?),
        pod: spec.pod.clone(),
    })
}

fn redis(spec: &RedisSpec) -> Result<RedisTarget, Invalid> {
    let Some(external) = &spec.external else {
        let managed = spec.managed.clone().unwrap_or_default();
        pods::settings("redis.managed", &managed.pod)?;
        return Ok(RedisTarget::Managed(Box::new(managed.pod)));
    };
    if spec.managed.is_some() {
        return Err(checks::invalid(
            "redis.managed",
            "and redis.external are mutually exclusive",
        ));
    }
    match (&external.url, &external.url_secret_ref) {
        (Some(url), None) => Ok(RedisTarget::Url(checks::redis_url(url)?)),
        (None, Some(reference)) => {
            checks::secret_key("redis.external.urlSecretRef", reference)?;
            Ok(RedisTarget::SecretRef(reference.clone()))
        }
        (Some(_), Some(_)) | (None, None) => Err(checks::invalid(
            "redis.external",
            "needs exactly one of url and urlSecretRef",
        )),
    }
}

fn proxy(spec: &ProxySpec) -> Result<Proxy, Invalid> {
    pods::settings("proxy", &spec.pod)?;
    checks::range("proxy.service.port", spec.service.port, 1, 65_535)?;
    let annotations = &spec.service.annotations;
    let length = syntax::ANNOTATION_LENGTH / 2;
    pods::annotations("proxy.service.annotations", annotations, 32, length)?;
    checks::at_most("proxy.origins", spec.origins.len(), 64)?;
    let origins = spec.origins.iter().enumerate();
    let origins = origins
        .map(|(index, text)| {
            text.parse()
                .map_err(|e: OriginError| checks::invalid(format!("proxy.origins[{index}]"), e))
        })
        .collect::<Result<_, _>>()?;
    let cookie_name = spec.sticky.cookie_name.parse();
    let cookie_name =
        cookie_name.map_err(|e: CookieNameError| checks::invalid("proxy.sticky.cookieName", e))?;
    let timeouts = &spec.timeouts;
    Ok(Proxy {
        replicas: checks::range("proxy.replicas", spec.replicas, 1, 50)?,
        service: spec.service.clone(),
        sticky: Sticky {
            cookie_name,
            max_age_seconds: checks::number(
                "proxy.sticky.maxAgeSeconds",
                spec.sticky.max_age_seconds,
                0,
                31_536_000,
            )?,
            same_site: match spec.sticky.same_site {
                wsc_api::v1alpha1::SameSite::Lax => SameSite::Lax,
                wsc_api::v1alpha1::SameSite::Strict => SameSite::Strict,
                wsc_api::v1alpha1::SameSite::None => SameSite::None,
            },
        },
        origins,
        timeouts: Timeouts {
            connect_seconds: checks::number(
                "proxy.timeouts.connectSeconds",
                timeouts.connect_seconds,
                1,
                60,
            )?,
            handshake_seconds: checks::number(
                "proxy.timeouts.handshakeSeconds",
                timeouts.handshake_seconds,
                1,
                300,
            )?,
            tunnel_seconds: checks::number(
                "proxy.timeouts.tunnelSeconds",
                timeouts.tunnel_seconds,
                60,
                604_800,
            )?,
        },
        pod: spec.pod.clone(),
    })
}

fn drain(spec: &DrainSpec) -> Result<DrainSettings, Invalid> {
    let natural = checks::seconds("drain.naturalSeconds", spec.natural_seconds, 0, 86_400)?;
    let deadline = checks::seconds("drain.deadlineSeconds", spec.deadline_seconds, 1, 86_400)?;
    if natural > deadline {
        return Err(checks::invalid(
            "drain.naturalSeconds",
            "must not be above drain.deadlineSeconds",
        ));
    }
    Ok(DrainSettings {
        natural,
        deadline,
        on_deadline: spec.on_deadline,
        close_code: checks::close_code(spec.notice.close_code)?,
        jitter_seconds: checks::number("drain.notice.jitterSeconds", spec.notice.jitter_seconds, 0, 600)?,
    })
}

fn disruption(spec: &DisruptionSpec) -> Result<Disruption, Invalid> {
    Ok(Disruption {
        moves_per_minute: checks::amount(
            "disruption.movesPerMinute",
            &spec.moves_per_minute,
            1..=1_000_000,
            1..=100,
        )?,
        max_moves_per_second: checks::number(
            "disruption.maxMovesPerSecond",
            spec.max_moves_per_second,
            1,
            10_000,
        )?,
        max_concurrent_drains: checks::amount(
            "disruption.maxConcurrentDrains",
            &spec.max_concurrent_drains,
            1..=2000,
            1..=100,
        )?,
    })
}
