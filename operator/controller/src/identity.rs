//! Identities of objects, parsed once from what the API server returns: an object without one is
//! skipped, never treated as `""`.

use std::fmt;
use std::ops::Deref;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use wsc_contract::labels;

/// `metadata.uid`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Uid(String);

/// `metadata.namespace`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Namespace(String);

/// `metadata.name` of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PodName(String);

/// A `WebSocketCluster`, by where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClusterKey {
    pub(crate) namespace: Namespace,
    pub(crate) name: String,
}

impl Uid {
    pub(crate) fn of(meta: &ObjectMeta) -> Option<Self> {
        not_empty(meta.uid.as_ref()).map(Self)
    }

    /// The uid of the object that controls this one.
    pub(crate) fn of_controller(meta: &ObjectMeta) -> Option<Self> {
        not_empty(Some(&controller(meta)?.uid)).map(Self)
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// The object that controls this one.
pub(crate) fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = meta.owner_references.as_deref()?;
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// The object has the annotation for adoption and no controller.
pub(crate) fn is_adoptable(meta: &ObjectMeta) -> bool {
    let annotations = meta.annotations.as_ref();
    let adopt = annotations.and_then(|annotations| annotations.get(labels::ADOPT));
    adopt.is_some_and(|adopt| adopt == "true")
        && controller(meta).is_none()
        && meta.deletion_timestamp.is_none()
}

impl Namespace {
    pub(crate) fn of(meta: &ObjectMeta) -> Option<Self> {
        not_empty(meta.namespace.as_ref()).map(Self)
    }
}

impl From<String> for Namespace {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl PodName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self(name.to_owned()))
    }

    pub(crate) fn of(meta: &ObjectMeta) -> Option<Self> {
        not_empty(meta.name.as_ref()).map(Self)
    }
}

impl ClusterKey {
    pub(crate) fn new(namespace: Namespace, name: impl Into<String>) -> Self {
        Self {
            namespace,
            name: name.into(),
        }
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace.0, self.name)
    }
}

impl Deref for Uid {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Deref for Namespace {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Deref for PodName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

fn not_empty(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn missing_and_empty_identities_are_none() {
        for text in [None, Some(String::new())] {
            let meta = ObjectMeta {
                name: text.clone(),
                namespace: text.clone(),
                uid: text.clone(),
                owner_references: text.map(|uid| {
                    vec![OwnerReference {
                        uid,
                        controller: Some(true),
                        ..OwnerReference::default()
                    }]
                }),
                ..ObjectMeta::default()
            };
            assert_eq!(Uid::of(&meta), None);
            assert_eq!(Uid::of_controller(&meta), None);
            assert_eq!(Namespace::of(&meta), None);
            assert_eq!(PodName::of(&meta), None);
        }
    }

    #[test]
    fn only_the_controller_owns() {
        let owner = |uid: &str, controller| OwnerReference {
            uid: uid.to_owned(),
            controller,
            ..OwnerReference::default()
        };
        let meta = ObjectMeta {
            owner_references: Some(vec![owner("a", None), owner("b", Some(true))]),
            ..ObjectMeta::default()
        };
        assert_eq!(Uid::of_controller(&meta).as_deref(), Some("b"));
    }

    #[test]
    fn only_an_annotated_orphan_is_adoptable() {
        let object = |adopt: &str, controller: Option<bool>| ObjectMeta {
            annotations: Some([(labels::ADOPT.to_owned(), adopt.to_owned())].into()),
            owner_references: Some(vec![OwnerReference {
                uid: "a".to_owned(),
                controller,
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        };
        assert!(is_adoptable(&object("true", None)));
        assert!(!is_adoptable(&object("false", None)));
        assert!(!is_adoptable(&object("true", Some(true))), "it has a controller");
        assert!(!is_adoptable(&ObjectMeta::default()), "it has no annotation");
        let terminating = ObjectMeta {
            deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)),
            ..object("true", None)
        };
        assert!(!is_adoptable(&terminating), "it is being deleted");
    }
}
