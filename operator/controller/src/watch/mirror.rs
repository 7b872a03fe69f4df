//! A mirror of the objects of one kind, by the cluster that they belong to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use tokio::sync::watch;
use wsc_api::names;
use wsc_api::v1alpha1::WebSocketCluster;

use crate::cluster_key::ClusterKey;

/// Objects of one kind. Readers never see half a list.
pub(crate) struct Mirror<K> {
    belongs_to: fn(&K) -> Option<ClusterKey>,
    /// An update between two such objects is nobody's business.
    alike: fn(&K, &K) -> bool,
    content: Mutex<Content<K>>,
    synced: watch::Sender<bool>,
}

struct Content<K> {
    current: Objects<K>,
    /// The list that is being read, if there is one.
    incoming: Option<Objects<K>>,
}

struct Objects<K> {
    by_cluster: HashMap<ClusterKey, BTreeMap<String, Arc<K>>>,
    /// The cluster of each object, since a label can change.
    cluster_of: HashMap<(String, String), ClusterKey>,
}

/// The cluster that a child's label names.
pub(super) fn by_label<K: Resource>(object: &K) -> Option<ClusterKey> {
    let meta = object.meta();
    let cluster = meta.labels.as_ref()?.get(names::CLUSTER_LABEL)?;
    Some(ClusterKey::new(meta.namespace.clone()?, cluster.clone()))
}

/// A resource is its own cluster.
pub(super) fn itself(object: &DeserializeGuard<WebSocketCluster>) -> Option<ClusterKey> {
    let meta = object.meta();
    Some(ClusterKey::new(meta.namespace.clone()?, meta.name.clone()?))
}

impl<K: Resource> Mirror<K> {
    pub(crate) fn new(belongs_to: fn(&K) -> Option<ClusterKey>) -> Self {
        Self {
            belongs_to,
            alike: |_, _| false,
            content: Mutex::new(Content {
                current: Objects::default(),
                incoming: None,
            }),
            synced: watch::Sender::new(false),
        }
    }

    /// The same, but an update that changes nothing by this measure touches nobody.
    #[must_use]
    pub(crate) fn ignoring(self, alike: fn(&K, &K) -> bool) -> Self {
        Self { alike, ..self }
    }

    /// The objects of a cluster, by name.
    pub(crate) fn of(&self, key: &ClusterKey) -> BTreeMap<String, Arc<K>> {
        let content = self.content.lock();
        content.current.by_cluster.get(key).cloned().unwrap_or_default()
    }

    /// True once it was listed.
    pub(crate) fn synced(&self) -> bool {
        *self.synced.borrow()
    }

    pub(crate) async fn until_synced(&self) {
        // The sender lives as long as the mirror.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Takes an event of a watch in, and returns the clusters that it touches.
    pub(crate) fn take(&self, event: Event<K>) -> BTreeSet<ClusterKey> {
        let mut content = self.content.lock();
        match event {
            Event::Apply(object) => {
                let known = content.current.get(object.meta());
                let idle = known.is_some_and(|known| (self.alike)(known, &object));
                let touched = content.current.insert(object, self.belongs_to);
                if idle { BTreeSet::new() } else { touched }
            }
            Event::Delete(object) => content.current.remove(object.meta()),
            Event::Init => {
                content.incoming = Some(Objects::default());
                BTreeSet::new()
            }
            Event::InitApply(object) => {
                let incoming = content.incoming.get_or_insert_default();
                incoming.insert(object, self.belongs_to);
                BTreeSet::new()
            }
            Event::InitDone => {
                let listed = content.incoming.take().unwrap_or_default();
                let before = std::mem::replace(&mut content.current, listed);
                self.synced.send_replace(true);
                before
                    .by_cluster
                    .into_keys()
                    .chain(content.current.by_cluster.keys().cloned())
                    .collect()
            }
        }
    }
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self {
            by_cluster: HashMap::new(),
            cluster_of: HashMap::new(),
        }
    }
}

impl<K: Resource> Objects<K> {
    fn insert(&mut self, object: K, belongs_to: fn(&K) -> Option<ClusterKey>) -> BTreeSet<ClusterKey> {
        let mut touched = self.remove(object.meta());
        if let (Some(key), Some(name)) = (belongs_to(&object), object.meta().name.clone()) {
            self.cluster_of.insert(place(object.meta()), key.clone());
            self.by_cluster
                .entry(key.clone())
                .or_default()
                .insert(name, Arc::new(object));
            touched.insert(key);
        }
        touched
    }

    fn get(&self, meta: &kube::api::ObjectMeta) -> Option<&K> {
        let key = self.cluster_of.get(&place(meta))?;
        let object = self.by_cluster.get(key)?.get(meta.name.as_deref()?)?;
        Some(object)
    }

    fn remove(&mut self, meta: &kube::api::ObjectMeta) -> BTreeSet<ClusterKey> {
        let Some(key) = self.cluster_of.remove(&place(meta)) else {
            return BTreeSet::new();
        };
        if let Some(objects) = self.by_cluster.get_mut(&key) {
            objects.remove(meta.name.as_deref().unwrap_or_default());
            if objects.is_empty() {
                self.by_cluster.remove(&key);
            }
        }
        BTreeSet::from([key])
    }
}

fn place(meta: &kube::api::ObjectMeta) -> (String, String) {
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn object(name: &str, cluster: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("ns".to_owned()),
                name: Some(name.to_owned()),
                labels: Some(BTreeMap::from([(
                    names::CLUSTER_LABEL.to_owned(),
                    cluster.to_owned(),
                )])),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    fn key(cluster: &str) -> ClusterKey {
        ClusterKey::new("ns", cluster)
    }

    #[test]
    fn what_vanished_during_a_gap_is_gone_and_its_cluster_is_told() {
        let mirror = Mirror::new(by_label::<ConfigMap>);
        for name in ["a", "b"] {
            mirror.take(Event::Apply(object(name, "chat")));
        }
        mirror.take(Event::Init);
        mirror.take(Event::InitApply(object("c", "game")));
        assert_eq!(mirror.of(&key("chat")).len(), 2, "half a list is not shown");
        assert!(!mirror.synced());
        let touched = mirror.take(Event::InitDone);
        assert!(mirror.synced());
        assert_eq!(touched, BTreeSet::from([key("chat"), key("game")]));
        assert!(mirror.of(&key("chat")).is_empty());
        assert_eq!(mirror.of(&key("game")).len(), 1);
    }

    #[test]
    fn an_object_that_changes_its_cluster_touches_both() {
        let mirror = Mirror::new(by_label::<ConfigMap>);
        mirror.take(Event::Apply(object("a", "chat")));
        let touched = mirror.take(Event::Apply(object("a", "game")));
        assert_eq!(touched, BTreeSet::from([key("chat"), key("game")]));
        assert!(mirror.of(&key("chat")).is_empty());
        let touched = mirror.take(Event::Delete(object("a", "game")));
        assert_eq!(touched, BTreeSet::from([key("game")]));
        assert!(mirror.of(&key("game")).is_empty());
    }
}
