//! A plan as a person would tell it.

use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use wsc_api::v1alpha1::WebSocketClusterStatus;

use super::scene::Scene;
use crate::observed::PodState;
use crate::plan::{Child, ControlVerb, Plan};
use crate::testing;

/// All parts that are not empty, one line each; of the status what a person looks at, and
/// conditions that say something new.
pub(super) fn tell(plan: &Plan, before: &WebSocketClusterStatus) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").unwrap();
    if let Some(secret) = &plan.create_redis_secret {
        line(format!("create Secret {secret}"));
    }
    plan.apply
        .iter()
        .for_each(|child| line(format!("apply {}", told_child(child))));
    for key in &plan.remove {
        line(format!("remove {:?} {}", key.kind, key.name));
    }
    if let Some(end) = plan.reserve_serials {
        line(format!("reserve serials below {end}"));
    }
    for pod in &plan.create_pods {
        line(format!("create Pod {}", pod.metadata.name.as_deref().unwrap()));
    }
    for mark in &plan.mark_pods {
        let drain = mark.drain.map_or_else(String::new, |drain| {
            let (reason, since, deadline) = (drain.reason.as_str(), at(drain.since), at(drain.deadline));
            format!(", {reason} since {since} until {deadline}")
        });
        line(format!("mark Pod {} {}{drain}", mark.name, mark.state.as_str()));
    }
    for update in &plan.update_pods {
        line(format!("update Pod {}", update.name));
    }
    for call in &plan.calls {
        line(format!("call {} {}", call.pod, told_verb(&call.verb)));
    }
    for delete in &plan.delete_pods {
        line(format!("delete Pod {}: {}", delete.name, delete.reason));
    }
    status(&plan.status, before, &mut line);
    for event in &plan.events {
        line(format!(
            "event {:?} {} {}: {}",
            event.kind, event.action, event.reason, event.note
        ));
    }
    plan.decisions
        .iter()
        .for_each(|decision| line(format!("log {decision}")));
    line(format!("again after {} s", plan.recheck_after.as_secs()));
    text
}

fn told_child(child: &Child) -> String {
    let key = child.key();
    let Child::ConfigMap(map) = child else {
        return format!("{:?} {}", key.kind, key.name);
    };
    let json = &map.data.as_ref().unwrap()["backends.json"];
    let set = wsc_haproxy::BackendSet::from_json(json).unwrap();
    let servers: Vec<_> = set
        .servers
        .iter()
        .map(|server| format!("{} {:?}", server.name, server.state))
        .collect();
    format!("ConfigMap {} with [{}]", key.name, servers.join(", "))
}

fn told_verb(verb: &ControlVerb) -> String {
    match verb {
        ControlVerb::Cordon => "cordon".to_owned(),
        ControlVerb::Uncordon => "uncordon".to_owned(),
        ControlVerb::Shed {
            total, per_second, ..
        } => {
            format!("shed until {total} in all, {per_second:.2} a second")
        }
    }
}

fn status(status: &WebSocketClusterStatus, before: &WebSocketClusterStatus, line: &mut impl FnMut(String)) {
    line(format!(
        "status: desired {}, active {} ({} of the template), starting {}, draining {}, next serial {}",
        status.desired_replicas,
        status.replicas,
        status.updated_replicas,
        status.starting_replicas,
        status.draining_replicas,
        status.next_serial
    ));
    let connections = &status.connections;
    line(format!(
        "status: {} connections of {} ({} %), {} on draining pods, {} moved",
        connections.current,
        connections.capacity,
        connections.utilization_percent,
        connections.draining,
        connections.moved_total
    ));
    for drain in &status.drains {
        line(format!(
            "status: {} {} ({}) since {} until {}, {} remain, {} moved",
            drain.pod,
            drain.state,
            drain.reason,
            at(drain.since.0),
            at(drain.deadline.0),
            drain.remaining,
            drain.moved
        ));
    }
    let known = |condition: &&Condition| !before.conditions.contains(condition);
    for condition in status.conditions.iter().filter(known) {
        line(format!(
            "condition {}={} {}: {}",
            condition.type_, condition.status, condition.reason, condition.message
        ));
    }
}

/// Seconds after the beginning.
fn at(time: Timestamp) -> String {
    format!("{} s", time.duration_since(testing::start()).as_secs())
}

/// Message of a condition.
pub(super) fn message<'a>(plan: &'a Plan, type_: &str) -> &'a str {
    let mut conditions = plan.status.conditions.iter();
    &conditions.find(|found| found.type_ == type_).unwrap().message
}

pub(super) fn condition<'a>(plan: &'a Plan, type_: &str) -> (&'a str, &'a str) {
    let conditions = &plan.status.conditions;
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .unwrap();
    (&condition.status, &condition.reason)
}

/// Nothing is written at all.
pub(super) fn is_quiet(scene: &Scene, plan: &Plan) -> bool {
    plan.apply.is_empty()
        && plan.remove.is_empty()
        && plan.create_redis_secret.is_none()
        && changes_no_pod(plan)
        && plan.update_pods.is_empty()
        && plan.calls.is_empty()
        && plan.events.is_empty()
        && plan.status == scene.observed.status
}

pub(super) fn changes_no_pod(plan: &Plan) -> bool {
    plan.create_pods.is_empty() && plan.mark_pods.is_empty() && plan.delete_pods.is_empty()
}

pub(super) fn marked(plan: &Plan) -> Vec<(&str, PodState)> {
    let marks = plan.mark_pods.iter();
    marks.map(|mark| (mark.name.as_str(), mark.state)).collect()
}

pub(super) fn verbs<'a>(plan: &'a Plan, pod: &str) -> Vec<&'a ControlVerb> {
    let calls = plan.calls.iter().filter(|call| call.pod == pod);
    calls.map(|call| &call.verb).collect()
}

/// What was decided, in its order.
pub(super) fn notes(plan: &Plan) -> Vec<&str> {
    plan.events.iter().map(|event| event.note.as_str()).collect()
}
