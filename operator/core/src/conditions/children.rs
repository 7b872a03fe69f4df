//! Conditions about HAProxy and Redis.

use k8s_openapi::jiff::SignedDuration;

use super::finding::{Facts, Finding, Truth};
use crate::numbers::since;
use crate::observed::{AgentView, ProxyView};
use crate::pool::Role;
use crate::validate::RedisTarget;
use wsc_contract::names;

/// An agent applies a changed list of servers within a second.
const SYNCED_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// Whether every proxy runs the published configuration. A change of the servers requires no
/// reload, so it does not count, unless an agent has not applied it for [`SYNCED_WITHIN`].
pub(super) fn proxy_configured(facts: Facts<'_>) -> Finding {
    let finding =
        |truth: Truth, reason: &str, message: String| Finding::new("ProxyConfigured", truth, reason, message);
    let observed = facts.draft.observed;
    let live: Vec<_> = observed
        .proxies
        .iter()
        .filter(|proxy| !proxy.terminating)
        .collect();
    let refused = live.iter().find_map(|proxy| {
        let refusal = proxy.agent.as_ref()?.refusal.as_ref()?;
        (refusal.structure == facts.structure).then_some((proxy, refusal))
    });
    if let Some((proxy, refusal)) = refused {
        let message = format!(
            "HAProxy in {} rejected the configuration and keeps the last valid one: {}; correct spec.proxy or server.path",
            proxy.name, refusal.message
        );
        return finding(Truth::False, "ConfigurationRejected", message);
    }
    let agents: Vec<(&ProxyView, &AgentView)> = live
        .iter()
        .filter_map(|proxy| Some((*proxy, proxy.agent.as_deref()?)))
        .collect();
    if agents.is_empty() {
        let ready = observed.proxy_ready.is_some_and(|ready| ready > 0);
        if let Some(before) = facts.before_samples("ProxyConfigured").filter(|_| ready) {
            return before;
        }
        let message = "no HAProxy pod reports its status".to_owned();
        return finding(Truth::Unknown, "StatusUnavailable", message);
    }
    let behind = agents.iter().find(|(_, agent)| {
        agent.applied_structure != facts.structure || agent.applied_settings != facts.settings
    });
    let unsynced = &facts.draft.memory.unsynced;
    let late = unsynced
        .iter()
        .find(|(_, at)| since(**at, facts.draft.now) >= SYNCED_WITHIN);
    match behind {
        None if let Some((proxy, _)) = late => finding(
            Truth::Unknown,
            "ServersNotApplied",
            format!(
                "{proxy} has not applied the list of server pods for more than {} s: new clients may not reach all server pods. See the log of its agent",
                SYNCED_WITHIN.as_secs()
            ),
        ),
        Some((proxy, _)) => finding(
            Truth::Unknown,
            "Applying",
            format!("{} is applying the configuration", proxy.name),
        ),
        None => finding(
            Truth::True,
            "Applied",
            "every HAProxy that reports its status runs the published configuration".to_owned(),
        ),
    }
}

/// Whether broadcasts reach the other pods.
pub(super) fn redis_reachable(facts: Facts<'_>) -> Finding {
    let finding =
        |truth: Truth, reason: &str, message: String| Finding::new("RedisReachable", truth, reason, message);
    let managed = matches!(facts.draft.cluster.redis, RedisTarget::Managed(_));
    let serving = facts.pool.of(Role::Serving);
    let samples = serving.filter_map(|member| Some((member.view.name.as_str(), member.sample?)));
    let (up, down): (Vec<_>, Vec<_>) = samples.partition(|(_, sample)| sample.broker_up);
    if up.is_empty() && down.is_empty() {
        if managed && facts.draft.observed.redis_ready.unwrap_or(0) == 0 {
            let message = format!(
                "the managed Redis {} has no ready pod yet",
                names::redis(&facts.draft.cluster.name)
            );
            return finding(Truth::False, "RedisNotReady", message);
        }
        return facts.before_samples("RedisReachable").unwrap_or_else(|| {
            let message = "no server pod reports its status".to_owned();
            finding(Truth::Unknown, "StatsUnavailable", message)
        });
    }
    if down.len() * 2 > up.len() + down.len() {
        let what = match &facts.draft.cluster.redis {
            RedisTarget::Managed(_) => format!(
                "the pod of the Deployment {}",
                names::redis(&facts.draft.cluster.name)
            ),
            RedisTarget::Url(_) => "redis.external.url and the network".to_owned(),
            RedisTarget::SecretRef(reference) => {
                format!("the URL in the Secret {} and the network", reference.name)
            }
        };
        let message = format!(
            "most server pods are not connected to Redis: clients stay connected, messages do not reach other pods; check {what}"
        );
        return finding(Truth::False, "RedisUnreachable", message);
    }
    if !down.is_empty() {
        let message = format!(
            "{} of {} server pods are not connected to Redis: messages do not reach their clients; see the logs of {}",
            down.len(),
            up.len() + down.len(),
            down.iter()
                .take(3)
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(", ")
        );
        return finding(Truth::Unknown, "PartlyConnected", message);
    }
    let message = "server pods are connected to Redis".to_owned();
    finding(Truth::True, "Connected", message)
}
