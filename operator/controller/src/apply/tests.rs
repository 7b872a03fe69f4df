//! A plan is executed against an API server that rejects, fails or hangs.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::Method;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::timeout;
use wsc_core::observed::{ChildKind, Drain, DrainReason, Observed, PodState};
use wsc_core::plan::Child;
use wsc_core::validate::{ValidCluster, validate};

use super::*;
use crate::context::Context;
use crate::identity::{ClusterKey, Uid};
use crate::sample::Samples;
use crate::testing::{Answer, Call, client, context, images, refusal, resource};
use crate::watch::SeenPod;

/// Nothing listens there, so that a call to it fails at once and names its pod.
const NOWHERE: [u8; 4] = [127, 77, 0, 1];

struct Scene {
    context: Context,
    key: ClusterKey,
    cluster: ValidCluster,
    observed: Observed,
    samples: Samples,
    state: State,
}

impl Scene {
    fn new(answer: impl Fn(Call) -> Answer + Send + Sync + 'static) -> Self {
        let cluster = validate(&resource("chat"), &images()).unwrap();
        let observed = Observed {
            watches_fresh: true,
            ..Observed::default()
        };
        let mut state = State::default();
        state.about(Uid::of(&resource("chat").metadata).unwrap());
        Self {
            context: context(&client(answer)),
            key: ClusterKey::new("ns".to_owned().into(), "chat"),
            cluster,
            observed,
            samples: Samples::default(),
            state,
        }
    }

    /// A pod that is ready and has not been marked so yet.
    fn add_pod(&mut self, name: &str) {
        let labels = json!({labels::CLUSTER: "chat", labels::COMPONENT: "server"});
        let pod = serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "ns", "uid": name, "labels": labels, "resourceVersion": "5", "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{
                    "apiVersion": "websocket-operator.io/v1alpha1", "kind": "WebSocketCluster", "name": "chat", "uid": "uid-1",
                    "controller": true,
                }],
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.9",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}],
            },
        }));
        let view = SeenPod::new(&pod.unwrap()).view(None).unwrap();
        self.observed.pods.insert(name.to_owned(), view);
    }

    fn decide(&self) -> Plan {
        self.decide_after(0)
    }

    fn decide_after(&self, seconds: i64) -> Plan {
        let start: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let now = start + SignedDuration::from_secs(seconds);
        wsc_core::decide(&self.cluster, &self.observed, &self.state.memory, now)
    }

    async fn apply(&mut self, plan: &Plan) -> Applied {
        let target = Target {
            context: &self.context,
            key: &self.key,
            cluster: &self.cluster,
            resource: Arc::new(resource("chat")),
            recorded: &[],
            observed: &self.observed,
            samples: &self.samples,
        };
        apply(&target, &mut plan.clone(), &mut self.state).await
    }
}

fn marked(plan: &Plan) -> Vec<&str> {
    plan.mark_pods.iter().map(|mark| mark.name.as_str()).collect()
}

fn is_pod(call: &Call, name: &str) -> bool {
    call.uri.contains(&format!("/pods/{name}?"))
}

/// Whatever is written is accepted.
fn accept(call: &Call) -> Answer {
    let mut object = call.body.clone();
    if call.method == Method::PATCH && call.uri.contains("/status") {
        object = serde_json::to_value(resource("chat")).unwrap();
    }
    async move { (200, object) }.boxed()
}

fn drain(pod: &str) -> (PodMark, ControlCall) {
    let since = Timestamp::UNIX_EPOCH;
    let drain = Drain {
        reason: DrainReason::ScaleDown,
        since,
        deadline: since + SignedDuration::from_hours(1),
    };
    let mark = PodMark {
        name: pod.to_owned(),
        uid: pod.to_owned(),
        resource_version: "5".to_owned(),
        state: PodState::Cordoned,
        drain: Some(drain),
    };
    let call = ControlCall {
        pod: pod.to_owned(),
        pod_uid: pod.to_owned(),
        address: NOWHERE.into(),
        verb: ControlVerb::Cordon,
    };
    (mark, call)
}

#[tokio::test]
async fn pods_are_called_only_after_their_mark() {
    let mut scene = Scene::new(|call| {
        if is_pod(&call, "chat-0") {
            return async { refusal(403, "Forbidden", "denied by a policy") }.boxed();
        }
        accept(&call)
    });
    let (mark_pods, mut calls): (Vec<_>, Vec<_>) = ["chat-0", "chat-1"].map(drain).into_iter().unzip();
    // It needs no mark.
    calls.push(drain("chat-2").1);
    let plan = Plan {
        mark_pods,
        calls,
        ..Plan::default()
    };
    let applied = scene.apply(&plan).await;
    let errors: Vec<_> = applied.errors.iter().map(ToString::to_string).collect();
    let called: Vec<_> = errors
        .iter()
        .filter(|error| error.starts_with("cordon"))
        .collect();
    assert_eq!(called.len(), 2, "{errors:?}");
    assert!(
        errors.iter().any(|error| error.contains("denied by a policy")),
        "{errors:?}"
    );
    assert!(
        !called.iter().any(|error| error.contains("chat-0")),
        "a pod that keeps its label is called: {called:?}"
    );
}

/// A policy that always rejects the mark would otherwise turn its server off and on at each retry.
#[tokio::test]
async fn proxies_drain_no_pod_without_its_mark() {
    for is_rejected in [true, false] {
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = calls.clone();
        let mut scene = Scene::new(move |call| {
            log.lock().push(call.uri.clone());
            if is_rejected && is_pod(&call, "chat-0") {
                return async { refusal(403, "Forbidden", "denied by a policy") }.boxed();
            }
            accept(&call)
        });
        scene.add_pod("chat-0");
        let plan = Plan {
            mark_pods: vec![drain("chat-0").0],
            ..scene.decide()
        };
        scene.apply(&plan).await;
        let calls = calls.lock();
        let at = |part: &str| calls.iter().position(|uri| uri.contains(part));
        assert!(at("/services?").is_some(), "{calls:?}");
        if is_rejected {
            assert_eq!(at("/configmaps?"), None, "HAProxy drains a pod that serves");
        } else {
            let (marked, published) = (at("/pods/chat-0?").unwrap(), at("/configmaps?").unwrap());
            assert!(marked < published, "{calls:?}");
        }
    }
}

#[tokio::test]
async fn abandoned_reconcile_remembers_what_it_did() {
    let mut scene = Scene::new(|call| {
        if is_pod(&call, "chat-1") {
            return std::future::pending().boxed();
        }
        accept(&call)
    });
    scene.add_pod("chat-0");
    scene.add_pod("chat-1");
    let plan = scene.decide();
    assert_eq!(marked(&plan), ["chat-0", "chat-1"]);
    // It passes only while nothing else can happen.
    tokio::time::pause();
    let limit = Duration::from_millis(300);
    assert!(timeout(limit, scene.apply(&plan)).await.is_err());
    scene.state.give_up();
    assert_eq!(
        marked(&scene.decide()),
        ["chat-1"],
        "one write was answered, the other one was not"
    );
}

#[tokio::test]
async fn a_failing_webhook_delays_creates() {
    let mut scene = Scene::new(|call| {
        if call.method == Method::POST && call.uri.contains("/pods") {
            let message = "failed calling webhook \"policy.example.org\": connection refused";
            return async move { refusal(500, "InternalError", message) }.boxed();
        }
        accept(&call)
    });
    let plan = scene.decide();
    assert!(!plan.create_pods.is_empty());
    scene.apply(&plan).await;
    for serial in scene.state.serials.pending() {
        scene.state.serials.release(serial);
    }
    // The window of creates is over.
    let plan = scene.decide_after(20);
    assert!(plan.create_pods.is_empty(), "there is no back-off");
}

#[tokio::test]
async fn marks_are_written_in_parallel() {
    let mut scene = Scene::new(|call| {
        let slow = call.uri.contains("/pods/");
        let answer = accept(&call);
        async move {
            if slow {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer.await
        }
        .boxed()
    });
    let (mark_pods, _): (Vec<_>, Vec<_>) = (0..8).map(|serial| drain(&format!("chat-{serial}"))).unzip();
    let plan = Plan {
        mark_pods,
        ..Plan::default()
    };
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let applied = scene.apply(&plan).await;
    assert!(applied.errors.is_empty(), "{:?}", applied.errors);
    assert!(
        began.elapsed() < Duration::from_millis(200),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn status_names_rejections_of_the_same_reconcile() {
    let statuses: Arc<Mutex<Vec<Value>>> = Arc::default();
    let log = statuses.clone();
    let mut scene = Scene::new(move |call| {
        if call.uri.contains("/status") {
            log.lock().push(call.body["status"].clone());
        }
        if call.method == Method::POST && call.uri.contains("/services?") {
            let message = "services \"chat\" is forbidden: exceeded quota: team";
            return async move { refusal(403, "Forbidden", message) }.boxed();
        }
        accept(&call)
    });
    scene.apply(&scene.decide()).await;
    let statuses = statuses.lock();
    let last = statuses.last().unwrap();
    let conditions = last["conditions"].as_array().unwrap();
    for type_ in ["Ready", "Reconciling", "Stalled"] {
        let condition = conditions
            .iter()
            .find(|condition| condition["type"] == type_)
            .unwrap();
        assert_eq!(condition["reason"], "ApplyFailed", "{condition}");
        let message = condition["message"].as_str().unwrap();
        assert!(message.contains("Service chat"), "{message}");
        assert!(message.contains("exceeded quota: team"), "{message}");
    }
    drop(statuses);
    let services = |plan: &Plan| {
        plan.apply
            .iter()
            .any(|child| child.key().kind == ChildKind::Service)
    };
    // By the clock that the failure was remembered with.
    let state = &scene.state;
    let again = wsc_core::decide(&scene.cluster, &scene.observed, &state.memory, clock::now());
    assert!(!services(&again), "a rejected write is retried at once");
}

#[tokio::test]
async fn redis_waits_for_its_secret() {
    let is_secret = |call: &Call| call.method == Method::POST && call.uri.contains("/secrets?");
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = calls.clone();
    let mut scene = Scene::new(move |call| {
        log.lock().push(call.uri.clone());
        if is_secret(&call) {
            let message = "secrets is forbidden: exceeded quota: team";
            return async move { refusal(403, "Forbidden", message) }.boxed();
        }
        accept(&call)
    });
    let deployments = |plan: &Plan| {
        let keys = plan.apply.iter().map(Child::key);
        let keys = keys.filter(|key| key.kind == ChildKind::Deployment);
        keys.map(|key| key.name).collect::<Vec<_>>()
    };
    let plan = scene.decide();
    assert_eq!(deployments(&plan), ["chat-redis", "chat-proxy"]);
    scene.apply(&plan).await;
    let calls = calls.lock();
    let made = calls.iter().filter(|uri| uri.contains("/deployments?"));
    assert_eq!(
        made.count(),
        1,
        "Redis would start without its password: {calls:?}"
    );
    let memory = &scene.state.memory;
    let again = wsc_core::decide(&scene.cluster, &scene.observed, memory, clock::now());
    assert_eq!(
        (again.create_redis_secret.as_deref(), deployments(&again)),
        (None, vec!["chat-proxy".to_owned()])
    );
    let reconciling = again
        .status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Reconciling");
    let message = &reconciling.unwrap().message;
    assert!(message.contains("Secret chat-redis-"), "{message}");
}

/// The record of the spec is an object like any other.
#[tokio::test]
async fn rejected_record_is_named_and_retried() {
    let creates: Arc<Mutex<usize>> = Arc::default();
    let log = creates.clone();
    let mut scene = Scene::new(move |call| {
        if call.uri.contains("/controllerrevisions?") {
            *log.lock() += 1;
            return async { refusal(403, "Forbidden", "exceeded quota: team") }.boxed();
        }
        accept(&call)
    });
    for _ in 0..2 {
        scene.apply(&scene.decide()).await;
    }
    assert_eq!(*creates.lock(), 1, "retried at once");
    let memory = &scene.state.memory;
    let plan = wsc_core::decide(&scene.cluster, &scene.observed, memory, clock::now());
    let find = |type_: &str| {
        plan.status
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_)
    };
    let message = &find("Reconciling").unwrap().message;
    assert!(message.contains("ControllerRevision chat-"), "{message}");
    assert_ne!(
        find("Ready").unwrap().reason,
        "ApplyFailed",
        "clients do not need it"
    );
}

/// A mutating webhook may take away what the spec has: each further patch would change nothing.
#[tokio::test]
async fn overridden_label_is_named_and_retried_later() {
    let patches: Arc<Mutex<Vec<Value>>> = Arc::default();
    let log = patches.clone();
    let mut scene = Scene::new(move |call| {
        if is_pod(&call, "chat-0") && !call.body["metadata"]["labels"]["team"].is_null() {
            log.lock().push(call.body.clone());
            let metadata =
                json!({"name": "chat-0", "namespace": "ns", "uid": "chat-0", "resourceVersion": "6"});
            let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
            return async move { (200, object) }.boxed();
        }
        accept(&call)
    });
    let mut labelled = resource("chat");
    labelled.spec.labels.insert("team".to_owned(), "chat".to_owned());
    scene.cluster = validate(&labelled, &images()).unwrap();
    scene.add_pod("chat-0");
    scene.observed.pods.get_mut("chat-0").unwrap().state = PodState::Active;
    for _ in 0..2 {
        scene.apply(&scene.decide()).await;
    }
    let patches = patches.lock();
    assert_eq!(patches.len(), 1, "retried at once: {patches:?}");
    let memory = &scene.state.memory;
    let plan = wsc_core::decide(&scene.cluster, &scene.observed, memory, clock::now());
    let mut conditions = plan.status.conditions.iter();
    let reconciling = conditions
        .find(|condition| condition.type_ == "Reconciling")
        .unwrap();
    for part in ["Pod chat-0", "an admission webhook overrides labels"] {
        assert!(reconciling.message.contains(part), "{}", reconciling.message);
    }
}
