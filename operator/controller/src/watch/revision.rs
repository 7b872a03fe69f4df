//! What is cached of a record of a spec. Its data is read while the spec of the resource is
//! invalid: as a tree it takes several times the memory.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;

use super::cache::{self, Cached, ObjectId};
use crate::identity::ClusterKey;

pub(crate) struct SeenRevision {
    /// Without its data.
    object: ControllerRevision,
    data: Option<Box<str>>,
}

impl SeenRevision {
    pub(super) fn new(mut object: ControllerRevision) -> Self {
        let data = object.data.take();
        Self {
            data: data.map(|data| data.0.to_string().into_boxed_str()),
            object,
        }
    }

    pub(super) fn cluster(&self) -> Option<ClusterKey> {
        cache::by_label(&self.object)
    }

    /// The whole object.
    pub(crate) fn object(&self) -> ControllerRevision {
        // It was written by the same library.
        let data = self
            .data
            .as_deref()
            .and_then(|data| serde_json::from_str(data).ok());
        ControllerRevision {
            data: data.map(RawExtension),
            ..self.object.clone()
        }
    }
}

impl Cached for SeenRevision {
    fn id(&self) -> Option<ObjectId> {
        self.object.id()
    }

    fn version(&self) -> Option<&str> {
        self.object.version()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn record_is_the_same_after_the_cache() {
        let record: ControllerRevision = serde_json::from_value(json!({
            "metadata": {
                "name": "chat-1", "namespace": "ns", "uid": "u", "resourceVersion": "5",
                "labels": {"websocket-operator.io/cluster": "chat"},
            },
            "revision": 3,
            "data": {"spec": {"scaling": {"maxReplicas": 4}}},
        }))
        .unwrap();
        let seen = SeenRevision::new(record.clone());
        assert_eq!(seen.object(), record);
        assert_eq!(
            seen.cluster(),
            Some(ClusterKey::new("ns".to_owned().into(), "chat"))
        );
        assert_eq!(seen.version(), Some("5"));
    }
}
