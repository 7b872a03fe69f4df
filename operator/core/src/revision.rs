//! The last valid spec: recorded in a `ControllerRevision`, and in force while a newer one is
//! invalid.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde::Deserialize;
use serde_json::json;
use wsc_api::v1alpha1::{WebSocketCluster, WebSocketClusterSpec};

use crate::hash::short_hex;
use crate::resources;
use crate::validate::{Images, Invalid, Rejected, ValidCluster, validate};

/// What brings the record up to date.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    pub create: Option<ControllerRevision>,
    /// Earlier ones, after the present one exists: there is always one.
    pub delete: Vec<Arc<ControllerRevision>>,
}

#[derive(Deserialize)]
struct Data {
    spec: WebSocketClusterSpec,
}

/// The cluster that is in force: that of the spec or, if it is invalid, that of the last valid one.
pub fn in_force(
    resource: &WebSocketCluster,
    recorded: &[Arc<ControllerRevision>],
    images: &Images,
) -> Result<ValidCluster, Invalid> {
    let problem = match validate(resource, images) {
        Ok(cluster) => return Ok(cluster),
        Err(problem) => problem,
    };
    let uid = resource.metadata.uid.as_deref().unwrap_or_default();
    let mut records = owned(recorded, uid);
    records.sort_by_key(|record| Reverse(record.revision));
    let valid = records.into_iter().find_map(|record| {
        let data = Data::deserialize(&record.data.as_ref()?.0).ok()?;
        // An autoscaler writes it through the scale subresource, also while another field is
        // invalid.
        let replicas = resource.spec.replicas.or(data.spec.replicas);
        let with = |replicas| {
            let spec = WebSocketClusterSpec {
                replicas,
                ..data.spec.clone()
            };
            let earlier = WebSocketCluster {
                spec,
                ..resource.clone()
            };
            validate(&earlier, images)
        };
        // Another version of the operator may have recorded it.
        let cluster = with(replicas).or_else(|_| with(data.spec.replicas)).ok()?;
        Some((cluster, record.revision))
    });
    let Some((cluster, in_force)) = valid else {
        return Err(problem);
    };
    Ok(ValidCluster {
        rejected: Some(Rejected { problem, in_force }),
        ..cluster
    })
}

/// Records the spec if it is the one in force.
pub fn changes(
    cluster: &ValidCluster,
    spec: &WebSocketClusterSpec,
    recorded: &[Arc<ControllerRevision>],
) -> Changes {
    if cluster.rejected.is_some() {
        return Changes::default();
    }
    let name = name(cluster);
    let records = owned(recorded, &cluster.uid);
    let is_current = |record: &Arc<ControllerRevision>| record.metadata.name.as_ref() == Some(&name);
    if records.iter().any(is_current) {
        return Changes {
            create: None,
            delete: records.into_iter().filter(|record| !is_current(record)).collect(),
        };
    }
    Changes {
        create: Some(ControllerRevision {
            metadata: resources::plain_meta(cluster, name),
            revision: cluster.generation,
            data: Some(RawExtension(json!({"spec": spec}))),
        }),
        delete: Vec::new(),
    }
}

/// Records that the resource with this uid controls and that stay.
fn owned(recorded: &[Arc<ControllerRevision>], uid: &str) -> Vec<Arc<ControllerRevision>> {
    let is_owned = |metadata: &ObjectMeta| {
        let mut owners = metadata.owner_references.iter().flatten();
        owners.any(|owner| owner.controller == Some(true) && owner.uid == uid)
    };
    let records = recorded
        .iter()
        .filter(|record| is_owned(&record.metadata) && record.metadata.deletion_timestamp.is_none());
    records.cloned().collect()
}

/// `chat-<hash of the uid>-<generation>`: data of a `ControllerRevision` cannot be changed, and a
/// recreated resource counts anew.
fn name(cluster: &ValidCluster) -> String {
    let hash = short_hex(cluster.uid.as_bytes(), 4);
    format!("{}-{hash}-{}", cluster.name, cluster.generation)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::Value;

    use super::*;
    use crate::testing::{images, resource, start};

    const GOOD: &str = "scaling: {maxReplicas: 4}\nproxy: {origins: ['https://[::1]']}";
    const BAD: &str = "scaling: {maxReplicas: 9}\nproxy: {origins: ['https://[0:0::1]']}";

    fn chat(spec: &str, generation: i64) -> WebSocketCluster {
        let mut chat = resource(spec);
        chat.metadata.generation = Some(generation);
        chat
    }

    fn record(spec: &str, generation: i64) -> Arc<ControllerRevision> {
        let chat = chat(spec, generation);
        let cluster = validate(&chat, &images()).unwrap();
        Arc::new(changes(&cluster, &chat.spec, &[]).create.unwrap())
    }

    fn with_data(record: &ControllerRevision, data: Value) -> Arc<ControllerRevision> {
        Arc::new(ControllerRevision {
            data: Some(RawExtension(data)),
            ..record.clone()
        })
    }

    fn in_force_of_bad(records: &[Arc<ControllerRevision>]) -> Result<ValidCluster, Invalid> {
        in_force(&chat(BAD, 3), records, &images())
    }

    #[test]
    fn valid_spec_is_in_force_itself() {
        let chat = chat(GOOD, 2);
        let old = record("scaling: {maxReplicas: 7}", 1);
        let cluster = in_force(&chat, &[old], &images()).unwrap();
        assert_eq!(cluster, validate(&chat, &images()).unwrap());
        assert_eq!(cluster.rejected, None);
    }

    #[test]
    fn last_valid_spec_stays_in_force() {
        let cluster = in_force_of_bad(&[record(GOOD, 1)]).unwrap();
        let before = validate(&chat(GOOD, 3), &images()).unwrap();
        let rejected = cluster.rejected.clone().unwrap();
        assert_eq!(
            (rejected.problem.field.as_str(), rejected.in_force),
            ("proxy.origins[0]", 1)
        );
        let without = ValidCluster {
            rejected: None,
            ..cluster
        };
        assert_eq!(without, before, "of the present generation and metadata");
    }

    #[test]
    fn replicas_of_invalid_spec_are_in_force() {
        let spec = |replicas, path| {
            format!(
                "replicas: {replicas}\nserver: {{path: {path}}}\nscaling: {{mode: Replicas, maxReplicas: 9}}"
            )
        };
        let now = chat(&spec(7, "'no slash'"), 3);
        let cluster = in_force(&now, &[record(&spec(3, "/ws"), 1)], &images()).unwrap();
        assert!(cluster.rejected.is_some());
        assert_eq!(cluster.scaling.mode, crate::validate::Mode::Replicas(7));
    }

    #[test]
    fn newest_valid_record_is_in_force() {
        let newest = with_data(&record(GOOD, 2), json!({"spec": chat(BAD, 2).spec}));
        let [second, first] = [record(GOOD, 1), record("scaling: {maxReplicas: 5}", 0)];
        for order in [[&first, &second, &newest], [&newest, &second, &first]] {
            let cluster = in_force_of_bad(&order.map(Arc::clone)).unwrap();
            assert_eq!(cluster.rejected.unwrap().in_force, 1);
        }
    }

    #[test]
    fn problem_is_reported_without_a_usable_record() {
        let unreadable = with_data(&record(GOOD, 1), json!({"spec": {"scaling": 3}}));
        let mut terminating = (*record(GOOD, 1)).clone();
        terminating.metadata.deletion_timestamp = Some(Time(start()));
        let mut foreign = (*record(GOOD, 1)).clone();
        foreign.metadata.owner_references = None;
        for records in [vec![], vec![unreadable, Arc::new(terminating), Arc::new(foreign)]] {
            let problem = in_force_of_bad(&records).unwrap_err();
            assert_eq!(problem.field, "proxy.origins[0]");
        }
    }

    #[test]
    fn valid_spec_is_recorded_once() {
        let chat = chat(GOOD, 2);
        let cluster = validate(&chat, &images()).unwrap();
        let old = record("scaling: {maxReplicas: 7}", 1);
        let first = changes(&cluster, &chat.spec, std::slice::from_ref(&old));
        assert!(
            first.delete.is_empty(),
            "the old one stays until the new one exists"
        );
        let new = Arc::new(first.create.unwrap());
        assert_eq!(new.data.as_ref().unwrap().0["spec"], json!(chat.spec));
        let second = changes(&cluster, &chat.spec, &[old.clone(), new.clone()]);
        assert_eq!((second.create, second.delete), (None, vec![old]));
        assert_eq!(changes(&cluster, &chat.spec, &[new]), Changes::default());
    }

    #[test]
    fn invalid_spec_is_not_recorded() {
        let records = [record(GOOD, 1)];
        let cluster = in_force_of_bad(&records).unwrap();
        let spec = chat(BAD, 3).spec;
        assert_eq!(changes(&cluster, &spec, &records), Changes::default());
    }

    #[test]
    fn recreated_resource_ignores_former_record() {
        let former = record(GOOD, 1);
        let mut chat = chat(GOOD, 1);
        chat.metadata.uid = Some("another".to_owned());
        let cluster = validate(&chat, &images()).unwrap();
        let changes = changes(&cluster, &chat.spec, std::slice::from_ref(&former));
        assert!(changes.delete.is_empty());
        assert_ne!(changes.create.unwrap().metadata.name, former.metadata.name);
    }
}
