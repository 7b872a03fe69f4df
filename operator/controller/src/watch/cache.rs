//! The cache of the objects of one kind, by the resource that they belong to.

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

/// The objects of a group, by name.
pub(crate) type Group<K> = Arc<BTreeMap<String, Arc<K>>>;

/// Objects of one kind, by the group that each belongs to. Readers never see half a list.
pub(crate) struct Cache<K, G = ClusterKey> {
    group: fn(&K) -> Option<G>,
    /// A second key, by which [`Cache::groups_at`] finds groups.
    place: fn(&K) -> Option<&str>,
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
    by_group: HashMap<G, Group<K>>,
    /// The number of objects of each group at each place.
    by_place: HashMap<String, BTreeMap<G, usize>>,
    /// The group of each object, since a label can change.
    group_of: HashMap<ObjectId, G>,
}

/// Namespace, if there is one, and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ObjectId {
    namespace: Option<Namespace>,
    name: String,
}

/// What is cached of an object of the API server.
pub(crate) trait Cached {
    fn id(&self) -> Option<ObjectId>;

    fn version(&self) -> Option<&str>;
}

impl<K: Resource> Cached for K {
    fn id(&self) -> Option<ObjectId> {
        ObjectId::of(self.meta())
    }

    fn version(&self) -> Option<&str> {
        self.meta().resource_version.as_deref()
    }
}

fn same_version<K: Cached>(a: &K, b: &K) -> bool {
    let version = a.version();
    version.is_some() && version == b.version()
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

impl<K: Cached, G: Clone + Eq + Hash + Ord> Cache<K, G> {
    pub(crate) fn new(group: fn(&K) -> Option<G>) -> Self {
        Self {
            group,
            place: |_| None,
            unchanged: same_version,
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

    /// The same, with an index by place.
    #[must_use]
    pub(crate) fn indexed(self, place: fn(&K) -> Option<&str>) -> Self {
        Self { place, ..self }
    }

    /// The groups with objects at a place.
    pub(crate) fn groups_at(&self, place: &str) -> Vec<G> {
        let content = self.content.lock();
        let groups = content.current.by_place.get(place);
        groups.into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// The objects of a group, by name.
    pub(crate) fn of(&self, key: &G) -> Group<K> {
        let content = self.content.lock();
        content.current.by_group.get(key).cloned().unwrap_or_default()
    }

    /// The first object of a group.
    pub(crate) fn first(&self, key: &G) -> Option<Arc<K>> {
        let content = self.content.lock();
        content.current.by_group.get(key)?.values().next().cloned()
    }

    /// The objects of all groups.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        let content = self.content.lock();
        let groups = content.current.by_group.values();
        groups.flat_map(|group| group.values()).cloned().collect()
    }

    /// True once it was listed.
    pub(crate) fn synced(&self) -> bool {
        *self.synced.borrow()
    }

    pub(crate) async fn until_synced(&self) {
        // The sender lives as long as the cache.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Takes in an event of a watch, and returns the groups that it concerns.
    pub(crate) fn take(&self, event: Event<K>) -> BTreeSet<G> {
        let mut content = self.content.lock();
        match event {
            Event::Apply(object) => {
                let known = object.id().and_then(|id| content.current.get(&id));
                let idle = known.is_some_and(|known| (self.unchanged)(known, &object));
                let affected = self.insert(&mut content.current, object);
                if idle { BTreeSet::new() } else { affected }
            }
            Event::Delete(object) => content.current.remove(&object, self.place),
            Event::Init => {
                content.incoming = Some(Objects::default());
                BTreeSet::new()
            }
            Event::InitApply(object) => {
                let incoming = content.incoming.get_or_insert_default();
                self.insert(incoming, object);
                BTreeSet::new()
            }
            Event::InitDone => {
                let listed = content.incoming.take().unwrap_or_default();
                let before = std::mem::replace(&mut content.current, listed);
                self.synced.send_replace(true);
                self.changed_groups(&before, &content.current)
            }
        }
    }

    fn insert(&self, objects: &mut Objects<K, G>, object: K) -> BTreeSet<G> {
        let mut affected = objects.remove(&object, self.place);
        let group = (self.group)(&object);
        if let (Some(group), Some(id)) = (group, object.id()) {
            objects.put(
                id,
                group.clone(),
                (self.place)(&object).map(str::to_owned),
                object,
            );
            affected.insert(group);
        }
        affected
    }

    /// Groups of which a relist shows other objects than before.
    fn changed_groups(&self, before: &Objects<K, G>, after: &Objects<K, G>) -> BTreeSet<G> {
        let groups = before.by_group.keys().chain(after.by_group.keys());
        let changed = groups.filter(|group| {
            let (Some(before), Some(after)) = (before.by_group.get(group), after.by_group.get(group)) else {
                return true;
            };
            let same = |(name, object): (&String, &Arc<K>)| {
                after
                    .get(name)
                    .is_some_and(|other| (self.unchanged)(object, other))
            };
            before.len() != after.len() || !before.iter().all(same)
        });
        changed.cloned().collect()
    }
}

impl<K, G> Default for Objects<K, G> {
    fn default() -> Self {
        Self {
            by_group: HashMap::new(),
            by_place: HashMap::new(),
            group_of: HashMap::new(),
        }
    }
}

impl<K: Cached, G: Clone + Eq + Hash + Ord> Objects<K, G> {
    fn put(&mut self, id: ObjectId, group: G, place: Option<String>, object: K) {
        if let Some(place) = place {
            let at = self.by_place.entry(place).or_default();
            *at.entry(group.clone()).or_default() += 1;
        }
        self.group_of.insert(id.clone(), group.clone());
        let objects = self.by_group.entry(group).or_default();
        Arc::make_mut(objects).insert(id.name, Arc::new(object));
    }

    fn get(&self, id: &ObjectId) -> Option<&K> {
        let group = self.group_of.get(id)?;
        let object = self.by_group.get(group)?.get(&id.name)?;
        Some(object)
    }

    fn remove(&mut self, object: &K, place: fn(&K) -> Option<&str>) -> BTreeSet<G> {
        let Some(id) = object.id() else {
            return BTreeSet::new();
        };
        let Some(group) = self.group_of.remove(&id) else {
            return BTreeSet::new();
        };
        if let Some(objects) = self.by_group.get_mut(&group) {
            let object = Arc::make_mut(objects).remove(&id.name);
            if objects.is_empty() {
                self.by_group.remove(&group);
            }
            if let Some(place) = object.as_deref().and_then(place) {
                self.leave(place, &group);
            }
        }
        BTreeSet::from([group])
    }

    /// One object of the group fewer at the place.
    fn leave(&mut self, place: &str, group: &G) {
        let Some(groups) = self.by_place.get_mut(place) else {
            return;
        };
        if let Some(objects) = groups.get_mut(group) {
            *objects = objects.saturating_sub(1);
        }
        groups.retain(|_, objects| *objects > 0);
        if groups.is_empty() {
            self.by_place.remove(place);
        }
    }
}

impl ObjectId {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

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
    fn deletion_during_a_gap_affects_its_cluster() {
        let cache = Cache::new(by_label::<ConfigMap>);
        for name in ["a", "b"] {
            cache.take(Event::Apply(object(name, "chat")));
        }
        cache.take(Event::Init);
        cache.take(Event::InitApply(object("c", "game")));
        assert_eq!(cache.of(&key("chat")).len(), 2, "half a list is not shown");
        assert!(!cache.synced());
        let affected = cache.take(Event::InitDone);
        assert!(cache.synced());
        assert_eq!(affected, BTreeSet::from([key("chat"), key("game")]));
        assert!(cache.of(&key("chat")).is_empty());
        assert_eq!(cache.of(&key("game")).len(), 1);
    }

    #[test]
    fn object_that_changes_cluster_affects_both() {
        let cache = Cache::new(by_label::<ConfigMap>);
        cache.take(Event::Apply(object("a", "chat")));
        let affected = cache.take(Event::Apply(object("a", "game")));
        assert_eq!(affected, BTreeSet::from([key("chat"), key("game")]));
        assert!(cache.of(&key("chat")).is_empty());
        let affected = cache.take(Event::Delete(object("a", "game")));
        assert_eq!(affected, BTreeSet::from([key("game")]));
        assert!(cache.of(&key("game")).is_empty());
    }

    #[test]
    fn relist_affects_only_changed_clusters() {
        let cache = Cache::new(by_label::<ConfigMap>);
        let at = |name: &str, cluster: &str, version: &str| {
            let mut object = object(name, cluster);
            object.metadata.resource_version = Some(version.to_owned());
            object
        };
        for cluster in ["chat", "game"] {
            cache.take(Event::Apply(at(cluster, cluster, "1")));
        }
        cache.take(Event::Init);
        cache.take(Event::InitApply(at("chat", "chat", "1")));
        cache.take(Event::InitApply(at("game", "game", "2")));
        assert_eq!(cache.take(Event::InitDone), BTreeSet::from([key("game")]));
    }

    #[test]
    fn place_lists_groups_until_last_object_leaves() {
        fn place(object: &ConfigMap) -> Option<&str> {
            object.data.as_ref()?.get("place").map(String::as_str)
        }
        let cache = Cache::new(by_label::<ConfigMap>).indexed(place);
        let at = |name: &str, place: &str| ConfigMap {
            data: Some(BTreeMap::from([("place".to_owned(), place.to_owned())])),
            ..object(name, "chat")
        };
        cache.take(Event::Apply(at("a", "n1")));
        cache.take(Event::Apply(at("b", "n1")));
        cache.take(Event::Apply(at("a", "n2")));
        assert_eq!(cache.groups_at("n1"), [key("chat")]);
        assert_eq!(cache.groups_at("n2"), [key("chat")]);
        cache.take(Event::Delete(at("b", "n1")));
        assert!(cache.groups_at("n1").is_empty());
        cache.take(Event::Init);
        cache.take(Event::InitApply(at("a", "n3")));
        cache.take(Event::InitDone);
        assert_eq!(cache.groups_at("n3"), [key("chat")]);
        assert!(cache.groups_at("n2").is_empty());
    }
}
