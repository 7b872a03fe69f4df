//! Whether HAProxy and the operator reach a server pod.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::numbers::since;
use crate::observed::{AgentView, Observed, PodView};

/// A sample that is older is stale: three ticks.
pub const FRESH: SignedDuration = SignedDuration::from_secs(15);

/// Connections to the pod by HAProxy, if every proxy reports them.
pub(crate) fn sessions(view: &PodView, observed: &Observed) -> Option<i64> {
    let mut proxies = observed
        .proxies
        .iter()
        .filter(|proxy| !proxy.terminating)
        .peekable();
    proxies.peek()?;
    let counts = proxies.map(|proxy| {
        let server = proxy.agent.as_ref()?.servers.get(&view.name);
        Some(server.map_or(0, |server| server.sessions))
    });
    counts.sum()
}

/// An agent reports connections to it.
pub(crate) fn has_sessions(view: &PodView, observed: &Observed) -> bool {
    let servers = agents(observed).filter_map(|agent| agent.servers.get(&view.name));
    servers.map(|server| server.sessions).any(|sessions| sessions > 0)
}

/// An agent reports it up and in rotation.
pub(crate) fn is_up(view: &PodView, observed: &Observed) -> bool {
    agents(observed)
        .filter_map(|agent| agent.servers.get(&view.name))
        .any(|server| server.up && !server.maint)
}

/// It has no fresh sample, and every agent that has it reports it down: the pod or its node is
/// lost, or its process hangs. The API server shows a lost node after 40 s or more, and a deleted
/// one never.
pub(crate) fn is_lost(view: &PodView, observed: &Observed, now: Timestamp) -> bool {
    let sample = observed.samples.get(&view.name);
    let responds = sample.is_some_and(|sample| sample.pod_uid == view.uid && since(sample.at, now) <= FRESH);
    let mut servers = agents(observed)
        .filter_map(|agent| agent.servers.get(&view.name))
        .peekable();
    !responds && servers.peek().is_some() && servers.all(|server| !server.up && !server.maint)
}

/// It is too early to expect a sample of the pod.
pub(crate) fn is_awaited(
    started_at: Option<Timestamp>,
    ready_since: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let expected_since = started_at.max(ready_since);
    expected_since.is_some_and(|at| since(at, now) <= FRESH)
}

fn agents(observed: &Observed) -> impl Iterator<Item = &AgentView> {
    observed.proxies.iter().filter_map(|proxy| proxy.agent.as_deref())
}
