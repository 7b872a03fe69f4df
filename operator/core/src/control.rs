//! One table: the goal of a pod and what is known of it -> state label, HAProxy's server state,
//! calls, deletion.

use wsc_contract::agent::ServerState;

use crate::draft::Draft;
use crate::drain::{self, Stage};
use crate::goal::{Control, Deletion, Goal};
use crate::observed::{PodState, PodView, Sample};
use crate::plan::{ControlCall, ControlVerb, EventKind, PodDelete, PodMark};
use crate::pool::{Member, Pool, Role};

/// Derives the controls of all pods, by their place in the pool, and writes them into the plan.
pub(crate) fn apply(draft: &mut Draft<'_>, pool: &Pool<'_>, connections: i64) {
    let stages: Vec<Stage> = pool
        .members
        .iter()
        .map(|member| drain::stage(draft, member))
        .collect();
    let mut moves = drain::moves(draft, pool, &stages, connections);
    for (member, stage) in pool.members.iter().zip(stages) {
        let mut control = control(draft, member, stage);
        control.calls.extend(moves.remove(&member.index));
        write(draft, member, &control);
        draft.controls.push(control);
    }
}

/// The controls of pods that nothing may be done to: what they are.
pub(crate) fn unchanged(draft: &mut Draft<'_>, pool: &Pool<'_>) {
    let still = |member: &Member<'_>| Control {
        label: member.view.state,
        drain: member.view.drain,
        server: server(member, member.view.state, false),
        calls: Vec::new(),
        delete: None,
        is_delayed: false,
    };
    draft.controls = pool.members.iter().map(still).collect();
}

fn control(draft: &Draft<'_>, member: &Member<'_>, stage: Stage) -> Control {
    let view = member.view;
    let (mut label, mut drain, mut calls, mut delete) = (view.state, view.drain, Vec::new(), None);
    match (draft.goals.of(member), member.role) {
        (Goal::Keep, Role::Serving | Role::Draining) => {
            (label, drain) = (PodState::Active, None);
            calls = back_into_rotation(draft, member);
        }
        (Goal::Keep, _) => {}
        (Goal::Leave(leave), role) => {
            label = match (role, stage) {
                (Role::Draining, _) if drain.is_none() => view.state,
                (Role::Draining, Stage::Waiting) => view.state,
                (Role::Draining, Stage::Moving | Stage::Overdue) => PodState::Shedding,
                (Role::Draining, Stage::Empty | Stage::Done(_)) => PodState::Removing,
                _ => PodState::Cordoned,
            };
            drain = Some(*leave);
            let accepts = member.sample.is_some_and(|sample| !sample.cordoned);
            if role != Role::Draining || accepts {
                calls.push(ControlVerb::Cordon);
            }
            if let Stage::Done(why) = stage {
                delete = Some(Deletion::Drained(leave.reason, why));
            }
        }
        (Goal::Delete(reason), _) => delete = Some(Deletion::Unused(reason.clone())),
    }
    if draft.goals.is_unconfirmed(member) {
        (label, drain, delete) = (view.state, view.drain, None);
    }
    let is_delayed =
        (label, drain) != (view.state, view.drain) && draft.memory.is_mark_delayed(view, draft.now);
    if is_delayed {
        // Without its mark a pod keeps its state: nothing else may be done to it.
        (label, drain, delete) = (view.state, view.drain, None);
        calls.clear();
    }
    Control {
        label,
        drain,
        server: server(member, label, delete.is_some()),
        calls,
        delete,
        is_delayed,
    }
}

/// What the proxies run of it. Readiness is the kubelet's view; HAProxy checks the pod itself and
/// routes nothing to one that does not answer.
fn server(member: &Member<'_>, label: PodState, is_deleted: bool) -> Option<ServerState> {
    match member.role {
        Role::Dead | Role::Starting => None,
        // A server that is deleted while its tunnels live would cut them: it stays until the pod is
        // gone.
        Role::Terminating => Some(ServerState::Maint),
        _ if is_deleted || label.is_draining() => Some(ServerState::Maint),
        Role::Serving | Role::Broken | Role::Draining => Some(ServerState::Ready),
    }
}

/// The calls to a pod that a cancelled drain, or a person, left cordoned.
fn back_into_rotation(draft: &Draft<'_>, member: &Member<'_>) -> Vec<ControlVerb> {
    let is_idle = |sample: &Sample| !sample.cordoned && sample.shed_target <= sample.shed_total;
    if member.role == Role::Serving && member.sample.is_none_or(is_idle) {
        return Vec::new();
    }
    let granted = |sample: &&Sample| draft.moves(sample).total(sample) > sample.shed_total;
    // A grant may have arrived after the sample: a pod in rotation must stop closing connections.
    let stop = member.sample.filter(granted).map(|sample| ControlVerb::Shed {
        boot_id: sample.boot_id.clone(),
        total: sample.shed_total,
        per_second: 1.0,
        notice: draft.cluster.drain.notice(),
    });
    stop.into_iter().chain([ControlVerb::Uncordon]).collect()
}

fn write(draft: &mut Draft<'_>, member: &Member<'_>, control: &Control) {
    let view = member.view;
    if control.calls.contains(&ControlVerb::Uncordon) {
        draft.memory.pod(&view.uid).moves.forget_grant();
    }
    for verb in &control.calls {
        draft.plan.calls.extend(call(view, verb));
    }
    if let Some(deletion) = &control.delete {
        delete(draft, member, deletion);
    } else if (control.label, control.drain) != (view.state, view.drain) {
        if view.state == PodState::Starting && control.label == PodState::Active {
            draft.line(format!("{} is ready and enters rotation", view.name));
        }
        draft.plan.mark_pods.push(PodMark {
            name: view.name.clone(),
            uid: view.uid.clone(),
            resource_version: view.resource_version.clone(),
            state: control.label,
            drain: control.drain,
        });
    }
}

fn call(view: &PodView, verb: &ControlVerb) -> Option<ControlCall> {
    Some(ControlCall {
        pod: view.name.clone(),
        pod_uid: view.uid.clone(),
        address: view.ip?,
        verb: verb.clone(),
    })
}

fn delete(draft: &mut Draft<'_>, member: &Member<'_>, deletion: &Deletion) {
    let view = member.view;
    let reason = match deletion {
        Deletion::Drained(reason, why) => format!("{}: {why}", reason.as_str()),
        Deletion::Unused(reason) => reason.clone(),
    };
    draft.plan.delete_pods.push(PodDelete {
        name: view.name.clone(),
        uid: view.uid.clone(),
        resource_version: view.resource_version.clone(),
        reason,
    });
    let Deletion::Drained(reason, why) = deletion else {
        return;
    };
    let clients = member.sample.map(|sample| sample.connections);
    let left = clients.map_or_else(|| "an unknown number".to_owned(), |left| left.to_string());
    let note = format!(
        "delete {} ({}): {why}, {left} connections left",
        view.name,
        reason.as_str()
    );
    draft.line(note.clone());
    let kind = match clients {
        Some(0) => EventKind::Normal,
        _ => EventKind::Warning,
    };
    draft.event(kind, "PodRemoved", "Delete", note);
}
