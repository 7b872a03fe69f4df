//! Events about resources (`events.k8s.io/v1`). A repetition is counted, at most every few minutes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event as ApiEvent, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::names;
use wsc_core::plan::{Event, EventKind};

use crate::api::ApiServer;
use crate::error::clipped;
use crate::identity::Uid;

/// A repetition is published at most this often. The [`Recorder`] counts repetitions within 6
/// minutes as one series.
const REPEAT_EVERY: Duration = Duration::from_mins(5);
/// An event without a repetition for this long is forgotten: its recorder would count no series any
/// more, and takes 6 KiB.
const FORGET_AFTER: Duration = Duration::from_mins(6);
/// Events are forgotten this often, also while none is reported.
const FORGET_EVERY: Duration = Duration::from_mins(1);
/// Remembered events over all clusters; beyond that the oldest is forgotten early.
const REMEMBERED: usize = 10_000;
/// The API server rejects longer notes.
const NOTE_BYTES: usize = 1024;

/// Events that wait to be published, over all clusters; beyond that new ones are dropped.
const QUEUE: usize = 1_000;

type Queued = (Arc<WebSocketCluster>, Event);

/// Events to publish.
pub(crate) type QueuedEvents = mpsc::Receiver<Queued>;

/// Publishes events, apart from the reconciles that report them.
pub(crate) struct Events {
    client: Client,
    reporter: Reporter,
    recent: Mutex<HashMap<Key, Recent>>,
    queue: mpsc::Sender<Queued>,
}

/// What makes two events the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: Uid,
    warning: bool,
    reason: String,
    action: String,
    note: String,
}

#[derive(Clone)]
struct Recent {
    /// One per event: a recorder counts events with other notes as repetitions.
    recorder: Recorder,
    published: Instant,
    last: Instant,
}

impl Events {
    /// `instance` is the operator's pod.
    pub(crate) fn new(client: Client, instance: String) -> (Self, QueuedEvents) {
        let (queue, queued) = mpsc::channel(QUEUE);
        let reporter = Reporter {
            controller: names::FIELD_MANAGER.to_owned(),
            instance: Some(instance),
        };
        let events = Self {
            client,
            reporter,
            recent: Mutex::default(),
            queue,
        };
        (events, queued)
    }

    /// Publishes an event later.
    pub(crate) fn enqueue(&self, resource: &Arc<WebSocketCluster>, event: Event) {
        if let Err(TrySendError::Full((_, event))) = self.queue.try_send((resource.clone(), event)) {
            tracing::warn!(
                reason = event.reason,
                note = event.note,
                "too many events; one is dropped"
            );
        }
    }

    /// Publishes what is queued, until the process ends.
    pub(crate) async fn run(&self, api: &ApiServer, mut queued: QueuedEvents) {
        loop {
            match timeout(FORGET_EVERY, queued.recv()).await {
                Ok(Some((resource, event))) => self.publish(api, &resource, &event).await,
                Ok(None) => return,
                Err(_) => self.forget(Instant::now()),
            }
        }
    }

    fn forget(&self, now: Instant) {
        let mut recent = self.recent.lock();
        recent.retain(|_, known| now.saturating_duration_since(known.last) < FORGET_AFTER);
        recent.shrink_to_fit();
    }

    /// Publishes an event, unless it was published lately. A failure is logged: no decision depends
    /// on an event.
    async fn publish(&self, api: &ApiServer, resource: &WebSocketCluster, event: &Event) {
        let Some(uid) = Uid::of(resource.meta()) else {
            return;
        };
        let reference = ObjectReference {
            // Lists give objects without their type.
            api_version: Some(WebSocketCluster::api_version(&()).into_owned()),
            kind: Some(WebSocketCluster::kind(&()).into_owned()),
            ..resource.object_ref(&())
        };
        let key = Key {
            uid,
            warning: event.kind == EventKind::Warning,
            reason: event.reason.clone(),
            action: event.action.clone(),
            note: clipped(&event.note, NOTE_BYTES),
        };
        let Some(recorder) = self.due(&key, Instant::now()) else {
            return;
        };
        let event = ApiEvent {
            type_: if key.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: key.reason.clone(),
            action: key.action.clone(),
            note: Some(key.note.clone()),
            secondary: None,
        };
        let call = recorder.publish(&event, &reference);
        if let Err(error) = api.write("publish", "Event", &key.reason, call).await {
            tracing::debug!(error = %error, reason = key.reason, "cannot publish event");
            self.recent.lock().remove(&key);
        }
    }

    /// The recorder to publish the event with now, if it is time to.
    fn due(&self, key: &Key, now: Instant) -> Option<Recorder> {
        let mut recent = self.recent.lock();
        recent.retain(|_, known| now.saturating_duration_since(known.last) < FORGET_AFTER);
        if let Some(known) = recent.get_mut(key) {
            known.last = now;
            if now.saturating_duration_since(known.published) < REPEAT_EVERY {
                return None;
            }
            known.published = now;
            return Some(known.recorder.clone());
        }
        if recent.len() >= REMEMBERED {
            let oldest = recent.iter().min_by_key(|(_, known)| known.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                recent.remove(&oldest);
            }
        }
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        let first = Recent {
            recorder: recorder.clone(),
            published: now,
            last: now,
        };
        recent.insert(key.clone(), first);
        Some(recorder)
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use serde_json::Value;
    use std::convert::Infallible;

    use super::*;
    use crate::testing::resource;

    type Calls = Arc<Mutex<Vec<(String, Value)>>>;

    /// A client whose API server stores every event, and the method and body of each request.
    fn client() -> (Client, Calls) {
        let calls = Calls::default();
        let log = calls.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let log = log.clone();
            async move {
                let method = request.method().to_string();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                log.lock()
                    .push((method, serde_json::from_slice(&body).unwrap_or_default()));
                Ok::<_, Infallible>(Response::new(Body::from(body.to_vec())))
            }
        });
        (Client::new(service, "ns"), calls)
    }

    fn key(note: &str) -> Key {
        Key {
            uid: Uid::of(resource("chat").meta()).unwrap(),
            warning: false,
            reason: "ScaledUp".to_owned(),
            action: "ScaleUp".to_owned(),
            note: note.to_owned(),
        }
    }

    #[tokio::test]
    async fn repetitions_are_rate_limited() {
        let events = Events::new(client().0, "pod".to_owned()).0;
        let start = Instant::now();
        assert!(events.due(&key("a"), start).is_some());
        for second in 1..300 {
            let now = start + Duration::from_secs(second);
            assert!(events.due(&key("a"), now).is_none(), "second {second}");
        }
        assert!(events.due(&key("a"), start + REPEAT_EVERY).is_some());
        assert!(
            events.due(&key("b"), start).is_some(),
            "another note is another event"
        );
    }

    #[tokio::test]
    async fn event_without_repetition_is_forgotten() {
        let events = Events::new(client().0, "pod".to_owned()).0;
        let start = Instant::now();
        events.due(&key("a"), start);
        events.due(&key("b"), start + Duration::from_secs(1));
        events.forget(start + FORGET_AFTER);
        let recent = events.recent.lock();
        assert_eq!(
            recent.keys().map(|key| key.note.as_str()).collect::<Vec<_>>(),
            ["b"]
        );
    }

    #[tokio::test]
    async fn oldest_event_is_forgotten_first() {
        let events = Events::new(client().0, "pod".to_owned()).0;
        let start = Instant::now();
        for number in 0..REMEMBERED {
            let now = start + Duration::from_millis(u64::try_from(number).unwrap());
            events.due(&key(&number.to_string()), now);
        }
        let now = start + Duration::from_mins(1);
        assert!(events.due(&key("new"), now).is_some());
        assert!(events.due(&key("1"), now).is_none(), "still remembered");
        assert!(events.due(&key("0"), now).is_some(), "forgotten");
    }

    #[tokio::test]
    async fn published_event_names_resource_and_reporter() {
        let (client, calls) = client();
        let events = Events::new(client.clone(), "operator-0".to_owned()).0;
        let api = ApiServer::new(client, Arc::default(), Arc::default());
        let event = |note: &str| Event {
            kind: EventKind::Warning,
            reason: "PodStartFailed".to_owned(),
            action: "Create".to_owned(),
            note: note.to_owned(),
        };
        for note in ["a", "a", "b"] {
            events.publish(&api, &resource("chat"), &event(note)).await;
        }
        let calls = calls.lock();
        let notes: Vec<_> = calls
            .iter()
            .map(|(method, body)| (method.as_str(), &body["note"]))
            .collect();
        assert_eq!(
            notes,
            [("POST", &Value::from("a")), ("POST", &Value::from("b"))],
            "each note is an event of its own"
        );
        let (_, body) = &calls[0];
        assert_eq!(body["type"], "Warning");
        assert_eq!(body["regarding"]["kind"], "WebSocketCluster");
        assert_eq!(body["regarding"]["uid"], "uid-1");
        assert_eq!(body["reportingController"], "wsc-operator");
        assert_eq!(body["reportingInstance"], "operator-0");
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        let note = "ä".repeat(NOTE_BYTES);
        assert_eq!(clipped(&note, NOTE_BYTES).len(), NOTE_BYTES);
        assert_eq!(clipped(&format!("x{note}"), NOTE_BYTES).len(), NOTE_BYTES - 1);
        assert_eq!(clipped("short", NOTE_BYTES), "short");
    }
}
