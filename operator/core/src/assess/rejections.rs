//! Clients that found no place, and pods that accept no more: by the statistics of the servers, and
//! by HAProxy, because a server whose check is answered with 404 never sees the clients that
//! HAProxy refuses.

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;

use crate::draft::Draft;
use crate::moves::Counter;
use crate::numbers::{signed, since};
use crate::observed::{AgentView, Sample};
use crate::pool::{Freshness, Member, Pool, Role};
use crate::validate::ValidCluster;

/// A shorter stabilization window is too short for clients that retry.
const LEAST_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// What was refused since the last plan.
pub(super) struct Rejections {
    /// Clients, by servers that were full and by HAProxy.
    pub(super) clients: i64,
    /// No pod in rotation accepts new connections, at any number of connections.
    pub(super) by_all: bool,
}

/// A pod in rotation that rejects clients, or accepts none below its limit, offers no more than it
/// has, and not more for some time after. One that is merely full does not: HAProxy sends clients
/// to the others.
pub(super) fn update(draft: &mut Draft<'_>, pool: &Pool<'_>) -> Rejections {
    let by_haproxy = refused_by_haproxy(draft);
    let now = draft.now;
    if by_haproxy > 0 {
        draft.memory.refused_at = Some(now);
    }
    let (mut by_servers, mut serving, mut closed) = (0_i64, 0, 0);
    for member in &pool.members {
        // A new pod accepts clients, as far as is known.
        serving += usize::from(member.role == Role::Serving && member.freshness == Freshness::Awaited);
        let Some(sample) = member.sample else {
            continue;
        };
        let rejected = refused_by_server(draft, sample);
        by_servers += rejected;
        if member.role != Role::Serving {
            continue;
        }
        let in_use = !sample.cordoned;
        // Alone a check may be older than the sample.
        let by_check = in_use && by_haproxy > 0 && rejects_by_check(draft, member);
        let by_sample = in_use && !sample.admits;
        serving += 1;
        closed += usize::from(by_check || by_sample);
        let short = sample.connections < sample.capacity || rejected > 0;
        if by_check || (by_sample && short) {
            draft.memory.pod(&sample.pod_uid).full = Some((now, sample.connections));
        }
    }
    let window = window(draft.cluster);
    for memory in draft.memory.pods.values_mut() {
        memory.full = memory.full.filter(|(at, _)| since(*at, now) <= window);
    }
    Rejections {
        clients: by_servers.saturating_add(by_haproxy),
        by_all: serving > 0 && closed == serving,
    }
}

/// HAProxy refused a client, or a pod accepted no more, within the window.
pub(super) fn are_recent(draft: &Draft<'_>, pool: &Pool<'_>) -> bool {
    let window = window(draft.cluster);
    let refused_at = draft.memory.refused_at;
    let full = |member: &Member<'_>| {
        let memory = draft.memory.pods.get(&member.view.uid);
        memory.is_some_and(|pod| pod.full.is_some())
    };
    refused_at.is_some_and(|at| since(at, draft.now) <= window) || pool.of(Role::Serving).any(full)
}

fn window(cluster: &ValidCluster) -> SignedDuration {
    signed(cluster.scaling.stabilization_window).max(LEAST_WINDOW)
}

/// By the check of each proxy that has it in rotation.
fn rejects_by_check(draft: &Draft<'_>, member: &Member<'_>) -> bool {
    let mut checks = agents(draft)
        .filter_map(|agent| agent.servers.get(&member.view.name))
        .filter(|server| !server.maint)
        .peekable();
    checks.peek().is_some() && checks.all(|server| server.rejects)
}

fn agents<'a>(draft: &Draft<'a>) -> impl Iterator<Item = &'a Arc<AgentView>> + use<'a> {
    let proxies = draft.observed.proxies.iter();
    proxies.filter_map(|proxy| proxy.agent.as_ref())
}

/// By all proxies since the last plan. What a proxy had counted when it was first seen is no news.
fn refused_by_haproxy(draft: &mut Draft<'_>) -> i64 {
    let mut refused = 0_u64;
    let mut before = std::mem::take(&mut draft.memory.workers);
    for proxy in &draft.observed.proxies {
        let before = before.remove(&proxy.name);
        let newest = proxy.agent.as_ref().and_then(|agent| agent.worker.clone());
        if let (Some(before), Some(newest)) = (&before, &newest) {
            refused = refused.saturating_add(newest.since(before).refused);
        }
        if let Some(counters) = newest.or(before) {
            draft.memory.workers.insert(proxy.name.clone(), counters);
        }
    }
    i64::try_from(refused).unwrap_or(i64::MAX)
}

/// Handshakes that its process rejected because it was full since the last plan.
fn refused_by_server(draft: &mut Draft<'_>, sample: &Sample) -> i64 {
    let memory = draft.memory.pod(&sample.pod_uid);
    let seen = Counter::new(&sample.boot_id, sample.refused_full);
    let rejected = memory.rejected.as_ref().map_or(0, |before| before.rise(&seen));
    memory.rejected = Some(seen);
    rejected
}
