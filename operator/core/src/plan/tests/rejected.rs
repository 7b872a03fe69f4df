//! An invalid spec while an earlier one is in force.

use super::scene::{BOUNDS, Scene};
use super::tell::condition;
use crate::plan::Plan;
use crate::validate::{Invalid, Rejected};

#[test]
fn invalid_spec_still_heals_the_pool() {
    let mut scene = Scene::running(BOUNDS, &[10, 10]);
    let problem = Invalid {
        field: "server.path".to_owned(),
        problem: "must start with /".to_owned(),
    };
    scene.cluster.rejected = Some(Rejected { problem, in_force: 1 });
    scene.observed.pods.remove("chat-1");
    scene.observed.samples.remove("chat-1");
    let plan = scene.tick(5);
    assert_eq!(plan.create_pods.len(), 1);
    let message =
        "spec.server.path must start with /; the spec of generation 1 stays in force until it is fixed";
    for (type_, status) in [("Ready", "False"), ("Stalled", "True"), ("Reconciling", "False")] {
        assert_eq!(condition(&plan, type_), (status, "InvalidSpec"));
        let conditions = &plan.status.conditions;
        assert!(
            conditions
                .iter()
                .any(|c| c.type_ == type_ && c.message == message)
        );
    }
    assert_ne!(condition(&plan, "Available").1, "InvalidSpec");
    let event = |plan: &Plan| plan.events.iter().any(|event| event.note == message);
    let log = |plan: &Plan| plan.decisions.iter().any(|line| line == message);
    assert!(event(&plan) && log(&plan));
    scene.adopt(&plan);
    let again = scene.tick(5);
    assert!(event(&again) && !log(&again), "logged once");
}
