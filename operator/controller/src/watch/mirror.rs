//! A mirror of the objects of one kind, by the resource that they belong to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use parking_lot::Mutex;
use tokio::sync::watch;
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::labels;

use crate::identity::{ClusterKey, Namespace};

/// Objects of one kind, by the group that each belongs to. Readers never see half a list.
pub(crate) struct Mirror<K, G = ClusterKey> {
    group: fn(&K) -> Option<G>,
    /// An update between two such objects is ignored.
    unchanged: fn(&K, &K) -> bool,
    content: Mutex<Content<K, G>>,
    synced: watch::Sender<bool>,
}

struct Content<K, G> {
    current: Objects<K, G>,
    /// The list that is being read, if there is one.
    incoming: Option<Objects<K, G>>,
}

struct Objects<K, G> {
    by_group: HashMap<G, BTreeMap<String, Arc<K>>>,
    /// The group of each object, since a label can change.
    group_of: HashMap<ObjectId, G>,
}

/// Namespace, if there is one, and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ObjectId {
    namespace: Option<Namespace>,
    name: String,
}

/// The cluster that a child's label names.
pub(super) fn by_label<K: Resource>(object: &K) -> Option<ClusterKey> {
    let meta = object.meta();
    let cluster = meta.labels.as_ref()?.get(labels::CLUSTER)?;
    Some(ClusterKey::new(Namespace::of(meta)?, cluster.clone()))
}

/// The key of the resource itself.
pub(super) fn key_from_cluster(object: &DeserializeGuard<WebSocketCluster>) -> Option<ClusterKey> {
    let meta = object.meta();
    Some(ClusterKey::new(Namespace::of(meta)?, meta.name.clone()?))
}

impl<K: Resource, G: Clone + Eq + Hash + Ord> Mirror<K, G> {
    pub(crate) fn new(group: fn(&K) -> Option<G>) -> Self {
        Self {
            group,
            unchanged: |_, _| false,
            content: Mutex::new(Content {
                current: Objects::default(),
                incoming: None,
            }),
            synced: watch::Sender::new(false),
        }
    }

    /// The same, but updates that change nothing by this measure are ignored.
    #[must_use]
    pub(crate) fn ignoring(self, unchanged: fn(&K, &K) -> bool) -> Self {
        Self { unchanged, ..self }
    }

    /// The objects of a group, by name.
    pub(crate) fn of(&self, key: &G) -> BTreeMap<String, Arc<K>> {
        let content = self.content.lock();
        content.current.by_group.get(key).cloned().unwrap_or_default()
    }

    /// True once it was listed.
    pub(crate) fn synced(&self) -> bool {
        *self.synced.borrow()
    }

    pub(crate) async fn until_synced(&self) {
        // The sender lives as long as the mirror.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Takes in an event of a watch, and returns the groups that it concerns.
    pub(crate) fn take(&self, event: Event<K>) -> BTreeSet<G> {
        let mut content = self.content.lock();
        match event {
            Event::Apply(object) => {
                let known = content.current.get(object.meta());
                let idle = known.is_some_and(|known| (self.unchanged)(known, &object));
                let touched = content.current.insert(object, self.group);
                if idle { BTreeSet::new() } else { touched }
            }
            Event::Delete(object) => content.current.remove(object.meta()),
            Event::Init => {
                content.incoming = Some(Objects::default());
                BTreeSet::new()
            }
            Event::InitApply(object) => {
                let incoming = content.incoming.get_or_insert_default();
                incoming.insert(object, self.group);
                BTreeSet::new()
            }
            Event::InitDone => {
                let listed = content.incoming.take().unwrap_or_default();
                let before = std::mem::replace(&mut content.current, listed);
                self.synced.send_replace(true);
                before
                    .by_group
                    .into_keys()
                    .chain(content.current.by_group.keys().cloned())
                    .collect()
            }
        }
    }
}

impl<K, G> Default for Objects<K, G> {
    fn default() -> Self {
        Self {
            by_group: HashMap::new(),
            group_of: HashMap::new(),
        }
    }
}

impl<K: Resource, G: Clone + Eq + Hash + Ord> Objects<K, G> {
    fn insert(&mut self, object: K, group: fn(&K) -> Option<G>) -> BTreeSet<G> {
        let mut touched = self.remove(object.meta());
        if let (Some(group), Some(id)) = (group(&object), ObjectId::of(object.meta())) {
            self.group_of.insert(id.clone(), group.clone());
            self.by_group
                .entry(group.clone())
                .or_default()
                .insert(id.name, Arc::new(object));
            touched.insert(group);
        }
        touched
    }

    fn get(&self, meta: &ObjectMeta) -> Option<&K> {
        let id = ObjectId::of(meta)?;
        let group = self.group_of.get(&id)?;
        let object = self.by_group.get(group)?.get(&id.name)?;
        Some(object)
    }

    fn remove(&mut self, meta: &ObjectMeta) -> BTreeSet<G> {
        let Some(id) = ObjectId::of(meta) else {
            return BTreeSet::new();
        };
        let Some(group) = self.group_of.remove(&id) else {
            return BTreeSet::new();
        };
        if let Some(objects) = self.by_group.get_mut(&group) {
            objects.remove(&id.name);
            if objects.is_empty() {
                self.by_group.remove(&group);
            }
        }
        BTreeSet::from([group])
    }
}

impl ObjectId {
    fn of(meta: &ObjectMeta) -> Option<Self> {
        Some(Self {
            namespace: Namespace::of(meta),
            name: meta.name.clone()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, cluster: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("ns".to_owned()),
                name: Some(name.to_owned()),
                labels: Some(BTreeMap::from([(labels::CLUSTER.to_owned(), cluster.to_owned())])),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    fn key(cluster: &str) -> ClusterKey {
        ClusterKey::new("ns".to_owned().into(), cluster)
    }

    #[test]
    fn deletion_during_a_gap_touches_its_cluster() {
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
    fn object_that_changes_cluster_touches_both() {
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
