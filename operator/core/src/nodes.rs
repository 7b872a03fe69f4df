//! Whether any node could hold a pod of the current template, however empty it were: by the
//! requests of the template and by its node selector. Taints, affinity and the pods that are there
//! are not considered.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::observed::NoNode;
use crate::quantity;
use crate::resources;
use crate::validate::ValidCluster;

type Quantities = BTreeMap<String, Quantity>;

/// What is compared with the requests of the template; the shell keeps no other resource of a node.
pub const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// One node.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    pub labels: Option<&'a BTreeMap<String, String>>,
    pub allocatable: Option<&'a Quantities>,
}

impl NoNode {
    /// What happened, and the remedy.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Selector => {
                "no node has the labels of server.nodeSelector; label a node or change it".to_owned()
            }
            Self::TooSmall {
                resource,
                request,
                largest,
            } => format!(
                "no node can hold a server pod: it requests {request} of {resource}, and the largest node that server.nodeSelector matches has {largest} allocatable; lower server.resources.requests or add larger nodes"
            ),
            Self::Combination => {
                "no node can hold a server pod: none that server.nodeSelector matches has enough cpu and memory; lower server.resources.requests or add larger nodes"
                    .to_owned()
            }
        }
    }
}

/// Why none of these nodes can hold a pod; `None` where one can, no node is known, or what a node
/// has cannot be read.
pub fn no_node<'a>(cluster: &ValidCluster, nodes: impl IntoIterator<Item = NodeView<'a>>) -> Option<NoNode> {
    let spec = resources::server_pod_spec(cluster);
    let requests = RESOURCES.map(|resource| (resource, request(&spec, resource)));
    let selector = &cluster.server.pod.node_selector;
    let matches = |node: &NodeView<'_>| {
        let has =
            |(key, value): (&String, &String)| node.labels.and_then(|labels| labels.get(key)) == Some(value);
        selector.iter().all(has)
    };
    let mut nodes = nodes.into_iter().peekable();
    nodes.peek()?;
    let mut largest: [Option<(u128, &str)>; RESOURCES.len()] = Default::default();
    let mut found = false;
    for node in nodes.filter(matches) {
        found = true;
        let mut fits = true;
        for ((resource, request), largest) in requests.iter().zip(&mut largest) {
            let quantity = node
                .allocatable
                .and_then(|allocatable| allocatable.get(*resource));
            let quantity = &quantity?.0;
            let amount = quantity::thousandths(quantity)?;
            fits &= *request <= amount;
            if largest.is_none_or(|(most, _)| amount > most) {
                *largest = Some((amount, quantity));
            }
        }
        if fits {
            return None;
        }
    }
    if !found {
        return Some(NoNode::Selector);
    }
    let too_small = requests
        .iter()
        .zip(largest)
        .find_map(|((resource, request), largest)| {
            let (amount, largest) = largest?;
            (*request > amount).then(|| NoNode::TooSmall {
                resource,
                request: quantity::text(*request, *resource == "memory").unwrap_or_default(),
                largest: largest.to_owned(),
            })
        });
    Some(too_small.unwrap_or(NoNode::Combination))
}

/// In thousandths, as the scheduler counts it: the sum of the containers, or one init container
/// that requests more.
fn request(pod: &PodSpec, resource: &str) -> u128 {
    let of = |container: &Container| {
        let quantities = container.resources.as_ref();
        let requests = quantities.and_then(|quantities| quantities.requests.as_ref()?.get(resource));
        let limits = quantities.and_then(|quantities| quantities.limits.as_ref()?.get(resource));
        let quantity = requests.or(limits);
        quantity
            .and_then(|quantity| quantity::thousandths(&quantity.0))
            .unwrap_or(0)
    };
    let containers: u128 = pod.containers.iter().map(of).sum();
    let init = pod.init_containers.iter().flatten().map(of).max();
    containers.max(init.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// Each node: its pool, and its allocatable cpu and memory.
    fn check(server: &str, nodes: &[(&str, &[(&str, &str)])]) -> Option<NoNode> {
        let cluster = testing::cluster(&format!(
            "server: {{{server}}}\nscaling: {{minReplicas: 1, maxReplicas: 2}}"
        ));
        let nodes: Vec<_> = nodes
            .iter()
            .map(|(pool, allocatable)| {
                let quantities = map(allocatable).into_iter();
                let quantities: Quantities = quantities.map(|(name, text)| (name, Quantity(text))).collect();
                (map(&[("pool", pool)]), quantities)
            })
            .collect();
        no_node(
            &cluster,
            nodes.iter().map(|(labels, allocatable)| NodeView {
                labels: Some(labels),
                allocatable: Some(allocatable),
            }),
        )
    }

    const SMALL: &[(&str, &str)] = &[("cpu", "1930m"), ("memory", "2Gi")];
    const LARGE: &[(&str, &str)] = &[("cpu", "4"), ("memory", "16Gi")];
    const LARGE_POD: &str = "resources: {requests: {cpu: \"3\", memory: 8Gi}}";

    #[test]
    fn pod_fits_the_largest_node() {
        assert_eq!(check(LARGE_POD, &[("a", SMALL), ("b", LARGE)]), None);
        assert_eq!(check(LARGE_POD, &[]), None, "no node is known");
        assert_eq!(check("", &[("a", SMALL)]), None, "the defaults are small enough");
    }

    #[test]
    fn node_too_small_is_named() {
        let of = |resource, request: &str, largest: &str| {
            Some(NoNode::TooSmall {
                resource,
                request: request.to_owned(),
                largest: largest.to_owned(),
            })
        };
        assert_eq!(check(LARGE_POD, &[("a", SMALL)]), of("cpu", "3", "1930m"));
        let large_memory = "resources: {requests: {memory: 64Gi}}";
        assert_eq!(
            check(large_memory, &[("b", LARGE), ("a", SMALL)]),
            of("memory", "64Gi", "16Gi")
        );
        let limit_only = "resources: {limits: {cpu: \"8\"}, requests: {cpu: \"8\"}}";
        assert_eq!(check(limit_only, &[("b", LARGE)]), of("cpu", "8", "4"));
    }

    #[test]
    fn node_selector_limits_the_nodes() {
        let in_pool = |pool: &str| format!("nodeSelector: {{pool: {pool}}}, {LARGE_POD}");
        let nodes = [("a", SMALL), ("b", LARGE)];
        assert_eq!(check(&in_pool("b"), &nodes), None);
        assert!(matches!(
            check(&in_pool("a"), &nodes),
            Some(NoNode::TooSmall { .. })
        ));
        assert_eq!(check(&in_pool("c"), &nodes), Some(NoNode::Selector));
    }

    #[test]
    fn each_request_fits_another_node() {
        let nodes: [(&str, &[(&str, &str)]); 2] = [
            ("a", &[("cpu", "8"), ("memory", "2Gi")]),
            ("b", &[("cpu", "2"), ("memory", "32Gi")]),
        ];
        assert_eq!(check(LARGE_POD, &nodes), Some(NoNode::Combination));
    }

    #[test]
    fn unknown_allocatable_excludes_nothing() {
        assert_eq!(check(LARGE_POD, &[("a", &[("cpu", "1")])]), None);
        assert_eq!(
            check(LARGE_POD, &[("a", &[("cpu", "1"), ("memory", "lots")])]),
            None
        );
    }

    #[test]
    fn containers_add_up_without_init_containers() {
        let container =
            |memory: &str| serde_json::json!({"name": "c", "resources": {"requests": {"memory": memory}}});
        let pod: PodSpec = serde_json::from_value(serde_json::json!({
            "containers": [container("1Gi"), container("2Gi")],
            "initContainers": [container("1Gi"), container("2Gi")],
        }))
        .unwrap();
        assert_eq!(request(&pod, "memory"), 1000 * (3 << 30));
        let mut pod = pod;
        pod.init_containers.as_mut().unwrap()[0] = serde_json::from_value(container("4Gi")).unwrap();
        assert_eq!(request(&pod, "memory"), 1000 * (4 << 30));
    }
}
