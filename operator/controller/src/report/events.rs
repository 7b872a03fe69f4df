//! Events about resources (`events.k8s.io/v1`). What is said again and again is said once, and counted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event as ApiEvent, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use parking_lot::Mutex;
use wsc_api::names;
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_core::plan::{Event, EventKind};

use crate::api::ApiServer;

/// A repetition is written at most this often; in between it is only counted.
const COUNT_EVERY: Duration = Duration::from_mins(5);
/// After this long without a repetition it is a new event. The API server itself forgets events after an hour.
const FORGET_AFTER: Duration = Duration::from_mins(30);
/// Of different events at once, over all clusters: beyond that old ones are forgotten early.
const REMEMBERED: usize = 10_000;
/// The API server refuses longer notes.
const NOTE_BYTES: usize = 1024;

/// Publishes events.
pub(crate) struct Events {
    controller: String,
    instance: String,
    said: Mutex<HashMap<Key, Said>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    warning: bool,
    reason: String,
    action: String,
    note: String,
}

#[derive(Clone, Debug)]
struct Said {
    name: String,
    count: i32,
    written: Instant,
    last: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Create,
    Count { name: String, count: i32 },
    Nothing,
}

impl Events {
    /// `instance` is the operator's pod.
    pub(crate) fn new(instance: String) -> Self {
        Self {
            controller: names::FIELD_MANAGER.to_owned(),
            instance,
            said: Mutex::default(),
        }
    }

    /// Publishes an event, unless it was said lately. A failure is logged: no decision depends on an event.
    pub(crate) async fn publish(&self, api: &ApiServer, resource: &WebSocketCluster, event: &Event) {
        let key = Key {
            uid: resource.uid().unwrap_or_default(),
            warning: event.kind == EventKind::Warning,
            reason: event.reason.clone(),
            action: event.action.clone(),
            note: clipped(&event.note),
        };
        let now = Timestamp::now();
        let name = format!("{}.{:x}", resource.name_any(), now.as_nanosecond());
        let events = api.objects::<ApiEvent>(&resource.namespace().unwrap_or_default());
        let result = match self.step(&key, &name, Instant::now()) {
            Step::Nothing => return,
            Step::Create => {
                let object = self.object(resource, &key, &name, now);
                let how = PostParams::default();
                let call = events.create(&how, &object);
                api.write("create", "Event", &name, call).await
            }
            Step::Count { name, count } => {
                let series = ApiEvent {
                    series: Some(EventSeries {
                        count,
                        last_observed_time: MicroTime(now),
                    }),
                    ..ApiEvent::default()
                };
                let patch = Patch::Merge(&series);
                let how = PatchParams::default();
                let call = events.patch(&name, &how, &patch);
                api.write("patch", "Event", &name, call).await
            }
        };
        if let Err(error) = result {
            tracing::debug!(error = %error, reason = key.reason, "cannot publish event");
            self.said.lock().remove(&key);
        }
    }

    fn step(&self, key: &Key, name: &str, now: Instant) -> Step {
        let mut said = self.said.lock();
        said.retain(|_, said| now.saturating_duration_since(said.last) < FORGET_AFTER);
        if let Some(known) = said.get_mut(key) {
            known.count = known.count.saturating_add(1);
            known.last = now;
            if now.saturating_duration_since(known.written) < COUNT_EVERY {
                return Step::Nothing;
            }
            known.written = now;
            return Step::Count {
                name: known.name.clone(),
                count: known.count,
            };
        }
        if said.len() >= REMEMBERED {
            said.clear();
        }
        let first = Said {
            name: name.to_owned(),
            count: 1,
            written: now,
            last: now,
        };
        said.insert(key.clone(), first);
        Step::Create
    }

    fn object(&self, resource: &WebSocketCluster, key: &Key, name: &str, now: Timestamp) -> ApiEvent {
        let regarding = ObjectReference {
            // Lists give objects without their type.
            api_version: Some(WebSocketCluster::api_version(&()).into_owned()),
            kind: Some(WebSocketCluster::kind(&()).into_owned()),
            ..resource.object_ref(&())
        };
        ApiEvent {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: resource.namespace(),
                ..ObjectMeta::default()
            },
            action: Some(key.action.clone()),
            reason: Some(key.reason.clone()),
            note: Some(key.note.clone()),
            type_: Some(if key.warning { "Warning" } else { "Normal" }.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            ..ApiEvent::default()
        }
    }
}

/// At most [`NOTE_BYTES`], cut between characters.
fn clipped(note: &str) -> String {
    let end = note
        .char_indices()
        .map(|(start, c)| start + c.len_utf8())
        .take_while(|end| *end <= NOTE_BYTES)
        .last()
        .unwrap_or_default();
    note.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(note: &str) -> Key {
        Key {
            uid: "u".to_owned(),
            warning: false,
            reason: "ScaledUp".to_owned(),
            action: "ScaleUp".to_owned(),
            note: note.to_owned(),
        }
    }

    #[test]
    fn what_is_repeated_is_written_once_and_counted_now_and_then() {
        let events = Events::new("pod".to_owned());
        let start = Instant::now();
        assert_eq!(events.step(&key("a"), "e1", start), Step::Create);
        for second in 1..300 {
            let now = start + Duration::from_secs(second);
            assert_eq!(events.step(&key("a"), "e", now), Step::Nothing);
        }
        let counted = Step::Count {
            name: "e1".to_owned(),
            count: 301,
        };
        assert_eq!(events.step(&key("a"), "e", start + COUNT_EVERY), counted);
        assert_eq!(
            events.step(&key("b"), "e2", start),
            Step::Create,
            "other words are another event"
        );
        let later = start + COUNT_EVERY + FORGET_AFTER;
        assert_eq!(events.step(&key("a"), "e3", later), Step::Create);
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = "ä".repeat(NOTE_BYTES);
        assert_eq!(clipped(&note).len(), NOTE_BYTES);
        assert_eq!(clipped(&format!("x{note}")).len(), NOTE_BYTES - 1);
        assert_eq!(clipped("short"), "short");
    }
}
