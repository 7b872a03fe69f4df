//! Plans of small scenes, a file for each topic: a cluster, and what happens to it.

mod answers;
mod blocked;
mod capacity;
mod crashes;
mod cures;
mod endpoints;
mod failing;
mod failures;
mod leaving;
mod losses;
mod metadata;
mod objects;
mod proven;
mod published;
mod quiet;
mod refused;
mod rejected;
mod room;
mod scene;
mod sizes;
mod starts;
mod tell;
mod zones;

use k8s_openapi::jiff::SignedDuration;

use crate::plan::Plan;
use crate::testing;
use scene::Scene;
use tell::tell;

/// A story in steps: each is a sentence and the plan that follows.
#[derive(Default)]
struct Story {
    text: String,
}

impl Story {
    fn step(&mut self, what: &str, scene: &mut Scene, plan: &Plan) {
        self.idle(what, scene, plan);
        scene.obey(plan);
    }

    /// The pods do not do what they are told.
    fn idle(&mut self, what: &str, scene: &mut Scene, plan: &Plan) {
        self.text += &format!("# {what}\n{}\n", tell(plan, &scene.observed.status));
        scene.adopt(plan);
    }
}

#[test]
fn story_of_a_fresh_cluster() {
    let mut scene = Scene::fresh("scaling: {minReplicas: 2, maxReplicas: 20}");
    let mut story = Story::default();
    let plan = scene.step(0);
    story.step("a resource is seen for the first time", &mut scene, &plan);
    let plan = scene.step(1);
    story.step("a second later", &mut scene, &plan);
    for serial in 0..2 {
        let now = scene.now;
        let pod = scene.pod(serial);
        (pod.ready, pod.ready_since) = (true, Some(now));
    }
    let plan = scene.step(4);
    story.step("both pods are ready", &mut scene, &plan);
    scene.observed.proxies = vec![scene::proxy("chat-proxy-a")];
    scene.observed.proxy_ready = Some(1);
    scene.observed.redis_ready = Some(1);
    for serial in 0..2 {
        let (pod, now) = (scene.pod(serial).clone(), scene.now);
        let mut sample = testing::sample(&pod, 0);
        sample.at = now;
        scene.observed.samples.insert(pod.name, sample);
    }
    let plan = scene.step(1);
    story.step("a proxy and the pods answer", &mut scene, &plan);
    insta::assert_snapshot!(story.text);
}

#[test]
fn story_of_a_drain() {
    let mut scene = Scene::running(
        "scaling: {minReplicas: 2, maxReplicas: 20}\ndisruption: {movesPerMinute: 120, maxConcurrentDrains: 1}",
        &[20, 30, 10, 20],
    );
    let mut story = Story::default();
    let plan = scene.tick(301);
    story.step("the window is over: fewer pods would do", &mut scene, &plan);
    let plan = scene.tick(595);
    story.step(
        "the pod waits for its clients to go by themselves",
        &mut scene,
        &plan,
    );
    scene.said(2).connections = 7;
    let plan = scene.tick(5);
    story.step("three went; the natural time is over", &mut scene, &plan);
    let plan = scene.tick(5);
    story.step("one zero", &mut scene, &plan);
    let plan = scene.tick(5);
    story.step("two zeros", &mut scene, &plan);
    let plan = scene.tick(5);
    story.step("and everybody says so again", &mut scene, &plan);
    let plan = scene.tick(5);
    story.step("it is gone", &mut scene, &plan);
    insta::assert_snapshot!(story.text);
}

#[test]
fn story_of_a_drain_that_is_cancelled() {
    let mut scene = Scene::running(
        "scaling: {minReplicas: 2, maxReplicas: 20}\ndrain: {naturalSeconds: 0}\ndisruption: {maxConcurrentDrains: 2}",
        &[20, 30, 10, 20, 20],
    );
    let mut story = Story::default();
    let plan = scene.tick(301);
    story.step("two pods drain", &mut scene, &plan);
    let plan = scene.tick(5);
    story.step("they shed", &mut scene, &plan);
    for serial in [0, 1, 3] {
        scene.said(serial).connections = 75;
    }
    let plan = scene.tick(5);
    story.step(
        "clients come: the fuller one stays, then the other, before a pod is made",
        &mut scene,
        &plan,
    );
    let plan = scene.tick(5);
    story.step("five seconds later", &mut scene, &plan);
    insta::assert_snapshot!(story.text);
}

#[test]
fn story_of_a_deadline_that_closes() {
    let mut scene = Scene::running(
        "scaling: {minReplicas: 2, maxReplicas: 20}\ndrain: {naturalSeconds: 60, deadlineSeconds: 60}\ndisruption: {movesPerMinute: 1, maxMovesPerSecond: 1}",
        &[30, 30, 15],
    );
    let mut story = Story::default();
    let plan = scene.tick(301);
    story.step("a drain begins", &mut scene, &plan);
    let plan = scene.tick(60);
    story.idle("the deadline is over: all are asked", &mut scene, &plan);
    // Some went by themselves, so the total cannot be reached.
    let sample = scene.said(2);
    (sample.connections, sample.shed_total) = (5, 5);
    let plan = scene.tick(5);
    story.idle("ten went, five are not asked yet", &mut scene, &plan);
    let sample = scene.said(2);
    (sample.connections, sample.shed_total) = (2, 10);
    let plan = scene.tick(5);
    story.idle("all were asked, two of them are slow to go", &mut scene, &plan);
    let plan = scene.tick(70);
    story.idle("for more than a minute nobody more was asked", &mut scene, &plan);
    insta::assert_snapshot!(story.text);
}

#[test]
fn story_of_a_deadline_that_waits() {
    let mut scene = Scene::running(
        "scaling: {minReplicas: 2, maxReplicas: 20}\ndrain: {naturalSeconds: 60, deadlineSeconds: 60, onDeadline: Wait}\ndisruption: {movesPerMinute: 60}",
        &[30, 30, 9],
    );
    let mut story = Story::default();
    let plan = scene.tick(301);
    story.step("a drain begins", &mut scene, &plan);
    let plan = scene.tick(3600);
    story.step(
        "long after the deadline moves come out of the budget as before",
        &mut scene,
        &plan,
    );
    scene.said(2).connections = 1;
    let plan = scene.tick(3600);
    story.step("one client does not go: the pod stays", &mut scene, &plan);
    insta::assert_snapshot!(story.text);
}

#[test]
fn story_of_a_rollout() {
    let mut scene = Scene::running(
        "scaling: {minReplicas: 2, maxReplicas: 20}\ndisruption: {movesPerMinute: 600}",
        &[10, 20],
    );
    let mut story = Story::default();
    scene.cluster = testing::cluster(
        "server: {maxConnections: 100, image: registry.example.org/wsc-server:2}\nscaling: {minReplicas: 2, maxReplicas: 20}\ndisruption: {movesPerMinute: 600}",
    );
    scene.observed.generation = 2;
    let plan = scene.tick(5);
    story.step("the image changes: one more pod first", &mut scene, &plan);
    let now = scene.now + SignedDuration::from_secs(3);
    let pod = scene.pod(2).clone();
    scene.add(pod, 0);
    let pod = scene.pod(2);
    (pod.ready, pod.ready_since) = (true, Some(now));
    let plan = scene.tick(5);
    story.step("it is ready", &mut scene, &plan);
    let plan = scene.tick(10);
    story.step(
        "it has proved itself: the emptiest old one drains",
        &mut scene,
        &plan,
    );
    let plan = scene.tick(60);
    story.step(
        "a rollout waits for natural departures for a minute only",
        &mut scene,
        &plan,
    );
    for _ in 0..3 {
        let plan = scene.tick(5);
        scene.adopt(&plan);
        scene.obey(&plan);
    }
    let plan = scene.tick(5);
    story.step(
        "the old one is gone: the next step is one more pod again",
        &mut scene,
        &plan,
    );
    insta::assert_snapshot!(story.text);
}
