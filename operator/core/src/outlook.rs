//! The part of samples and time that decisions depend on: while it is equal, another plan would be
//! equal.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::assess;
use crate::draft::Draft;
use crate::memory::Memory;
use crate::numbers::signed;
use crate::observed::{Observed, Sample};
use crate::plan::Plan;
use crate::pool::{Member, Pool, Role};
use crate::scale::{Limit, Scale};
use crate::validate::ValidCluster;
use crate::{outdated, startup, status};

/// After the last moment of the window.
const MOMENT: SignedDuration = SignedDuration::from_millis(1);

/// The outlook of a cluster at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// Connections of all server pods; they alone are no reason for a plan.
    pub connections: i64,
    /// If all pods are lost, those of a proven template are replaced at once. It is remembered
    /// without a plan.
    proves_template: bool,
    facts: Facts,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "independent findings, each with its own meaning"
)]
#[derive(Clone, Debug, PartialEq)]
struct Facts {
    want: i32,
    desired: i32,
    free: i32,
    limit: Option<Limit>,
    blind: bool,
    unknown: bool,
    rejected: bool,
    panic: bool,
    watches_fresh: bool,
    holds: Vec<(&'static str, bool)>,
    pods: Vec<PodFacts>,
    agents: Vec<AgentFacts>,
    /// Numbers of the status are to be written.
    numbers_due: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct PodFacts {
    uid: String,
    role: Role,
    late: bool,
    is_stale: bool,
    /// Without the fields that change in a quiet cluster.
    said: Option<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct AgentFacts {
    proxy: String,
    said: Option<AgentSaid>,
}

#[derive(Clone, Debug, PartialEq)]
struct AgentSaid {
    hash: String,
    structure: String,
    settings: String,
    synced: bool,
    refusal: Option<String>,
    /// Counters of another worker are not comparable. Those of the same one count where they rise:
    /// then clients were refused.
    worker: Option<String>,
}

impl Outlook {
    /// Nothing changed that a plan depends on.
    pub fn is_same(&self, other: &Self) -> bool {
        self.facts == other.facts
    }

    /// Nothing changed until now: the last plan counts as made now.
    pub fn confirm(&self, memory: &mut Memory, now: Timestamp) {
        memory.still_recommended(now);
        if self.proves_template {
            memory.starts.prove();
        }
    }
}

/// The outlook now, with what the last plan remembers. `revision`: of the template of the cluster.
pub fn outlook(
    cluster: &ValidCluster,
    revision: &str,
    observed: &Observed,
    memory: &Memory,
    now: Timestamp,
) -> Outlook {
    let mut draft = Draft::new(cluster, observed, memory.clone(), now);
    draft.memory.look(observed, revision, now);
    let deadline = signed(cluster.server.start_deadline);
    let pool = Pool::new(observed, &mut draft.memory, revision, deadline, now);
    let numbers = draft.memory.connections_reported_at;
    let scale = assess::assess(&mut draft, &pool);
    let facts = Facts {
        want: scale.want,
        desired: scale.desired,
        free: scale.free,
        limit: scale.limit,
        blind: scale.blind,
        unknown: scale.unknown,
        rejected: scale.rejected,
        panic: scale.panic,
        watches_fresh: observed.watches_fresh,
        holds: scale.holds.by_reason(),
        pods: pool.members.iter().map(pod_facts).collect(),
        agents: agents(observed),
        numbers_due: status::numbers_are_due(observed, numbers, &scale, now),
    };
    Outlook {
        connections: scale.load.up,
        proves_template: startup::proves_template(&draft, &pool),
        facts,
    }
}

fn pod_facts(member: &Member<'_>) -> PodFacts {
    PodFacts {
        uid: member.view.uid.clone(),
        role: member.role,
        late: member.late,
        is_stale: member.is_stale(),
        said: member.sample.map(|sample| Sample {
            at: Timestamp::UNIX_EPOCH,
            connections: 0,
            zero_in_a_row: 0,
            ..sample.clone()
        }),
    }
}

fn agents(observed: &Observed) -> Vec<AgentFacts> {
    let proxies = observed.proxies.iter();
    let facts = proxies.map(|proxy| AgentFacts {
        proxy: proxy.name.clone(),
        said: proxy.agent.as_deref().map(|agent| AgentSaid {
            hash: agent.applied_hash.clone(),
            structure: agent.applied_structure.clone(),
            settings: agent.applied_settings.clone(),
            synced: agent.synced,
            refusal: agent.refusal.as_ref().map(|refusal| refusal.message.clone()),
            worker: agent.worker.as_ref().map(|worker| worker.id.clone()),
        }),
    });
    facts.collect()
}

/// Nothing is under way that samples or time drive: the next plan is worth its cost when an object
/// or the outlook changes.
pub(crate) fn is_quiet(draft: &Draft<'_>, pool: &Pool<'_>, scale: &Scale) -> bool {
    let is_settled = |member: &Member<'_>| {
        let serves = member.role == Role::Serving && member.view.ready && member.view.node_ready;
        let ended = member.role == Role::Dead && !member.view.terminating;
        (serves || ended) && !draft.goals.is_unconfirmed(member)
    };
    let serving = || pool.of(Role::Serving);
    let are_fresh = serving().all(|member| member.sample.is_some());
    let are_well = serving().all(|member| {
        member.sample.is_some_and(|sample| {
            sample.admits && sample.broker_up && !sample.cordoned && sample.shed_target <= sample.shed_total
        })
    });
    let changes_pool = scale.desired != scale.serving || pool.reserved > 0;
    let rolls = outdated::rollout_in_progress(pool);
    let memory = &draft.memory;
    let remembers =
        !memory.unsynced.is_empty() || !memory.failures.all().is_empty() || !memory.budget.is_well();
    pool.members.iter().all(is_settled)
        && are_fresh
        && are_well
        && !changes_pool
        && !rolls
        && !remembers
        && !scale.holds.wait_for_more_than_time()
        && draft.observed.conflicts.is_empty()
        && draft.observed.redis_ready != Some(0)
        && does_nothing(&draft.plan)
        && is_reported(draft)
}

/// The time until a recommendation leaves the stabilization window, or the window is complete: the
/// next plan of a quiet cluster is due then.
pub(crate) fn until_window_moves(draft: &Draft<'_>) -> Option<Duration> {
    let (memory, now) = (&draft.memory, draft.now);
    let leaves = memory.wanted.first().filter(|_| memory.wanted.len() > 1);
    let window = signed(draft.cluster.scaling.stabilization_window);
    let of_window = [leaves.map(|(at, _)| *at), memory.fresh_since];
    let ends = of_window.into_iter().flatten().map(|began| began + window);
    // A recommendation counts to the end of the window.
    let left = ends
        .filter(|end| *end >= now)
        .map(|end| end.duration_since(now) + MOMENT);
    left.min().and_then(|left| Duration::try_from(left).ok())
}

fn does_nothing(plan: &Plan) -> bool {
    plan.apply.is_empty()
        && plan.remove.is_empty()
        && plan.create_redis_secret.is_none()
        && !plan.check_redis_secret
        && plan.create_pods.is_empty()
        && plan.mark_pods.is_empty()
        && plan.update_pods.is_empty()
        && plan.calls.is_empty()
        && plan.delete_pods.is_empty()
}

/// The status is written, and its conditions are those of a settled cluster, or the spec is
/// invalid: only a change of the resource ends that.
fn is_reported(draft: &Draft<'_>) -> bool {
    let wanted = &draft.plan.status;
    let is_rejected = |reason: &str| draft.cluster.rejected.is_some() && reason == "InvalidSpec";
    let is = |type_: &str, status: &str| {
        let mut conditions = wanted.conditions.iter();
        conditions.any(|condition| {
            condition.type_ == type_ && (condition.status == status || is_rejected(&condition.reason))
        })
    };
    let well = ["Ready", "Available", "ProxyConfigured", "RedisReachable"];
    well.iter().all(|type_| is(type_, "True"))
        && ["Reconciling", "Progressing", "Stalled"]
            .iter()
            .all(|type_| is(type_, "False"))
        && status::update(Some(&draft.observed.status), wanted).is_none()
}
