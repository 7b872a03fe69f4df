//! Identities of objects, parsed once from what the API server returns: an object without one is skipped, never treated as `""`.

use std::fmt;
use std::ops::Deref;

use kube::api::ObjectMeta;

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
        let owners = meta.owner_references.as_deref()?;
        let controller = owners.iter().find(|owner| owner.controller == Some(true))?;
        not_empty(Some(&controller.uid)).map(Self)
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
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
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

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
}
