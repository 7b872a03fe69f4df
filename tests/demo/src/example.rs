//! The resource that the demo applies: `docs/examples/demo.yaml`, which a reader finds in the
//! documentation too.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use wsc_api::v1alpha1::{WebSocketCluster, WebSocketClusterSpec};

/// Where it is in the repository.
const FILE: &str = "docs/examples/demo.yaml";

/// The resource, and the numbers in it that the demo goes by.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    /// The file.
    pub(crate) path: PathBuf,
    /// The resource's name.
    pub(crate) name: String,
    /// What it asks for.
    pub(crate) spec: WebSocketClusterSpec,
}

impl Example {
    /// Reads it.
    ///
    /// # Errors
    /// When it is not there or no `WebSocketCluster`.
    pub(crate) fn read(repository: &Path) -> Result<Self> {
        let path = repository.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let resource: WebSocketCluster = serde_yaml::from_str(&text).with_context(|| FILE.to_owned())?;
        Ok(Self {
            path,
            name: resource.metadata.name.context("metadata.name is missing")?,
            spec: resource.spec,
        })
    }

    /// Fewest server pods.
    pub(crate) fn minimum(&self) -> usize {
        usize::try_from(self.spec.scaling.min_replicas).unwrap_or(0)
    }

    /// HAProxy pods.
    pub(crate) fn proxies(&self) -> usize {
        usize::try_from(self.spec.proxy.replicas).unwrap_or(0)
    }

    /// Moves a second that the resource allows, for at most this many connections.
    pub(crate) fn moves_per_second(&self, connections: usize) -> f64 {
        let per_minute = match &self.spec.disruption.moves_per_minute {
            IntOrString::Int(moves) => f64::from(*moves),
            IntOrString::String(text) => {
                let percent: f64 = text.trim_end_matches('%').parse().unwrap_or(0.0);
                f64::from(u32::try_from(connections).unwrap_or(u32::MAX)) * percent / 100.0
            }
        };
        (per_minute / 60.0).min(f64::from(self.spec.disruption.max_moves_per_second))
    }
}

#[cfg(test)]
mod tests {
    use serde_yaml::Value;

    use super::super::scenario::{LINGER, RAMP, STEADY};
    use super::*;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// Every field of the file is one of the resource: whatever serde does not know would be
    /// missing in what it writes.
    #[test]
    fn the_example_has_no_unknown_field() {
        let written: Value =
            serde_yaml::from_str(&fs::read_to_string(repository().join(FILE)).unwrap()).unwrap();
        let example = Example::read(&repository()).unwrap();
        assert_eq!(example.name, "chat");
        assert_within(
            "spec",
            &written["spec"],
            &serde_yaml::to_value(&example.spec).unwrap(),
        );
    }

    fn assert_within(path: &str, part: &Value, whole: &Value) {
        if let Value::Mapping(fields) = part {
            for (key, value) in fields {
                let path = format!("{path}.{}", key.as_str().unwrap());
                assert_within(
                    &path,
                    value,
                    whole.get(key).unwrap_or_else(|| panic!("{path} is unknown")),
                );
            }
        } else {
            assert_eq!(part, whole, "{path}");
        }
    }

    #[test]
    fn clients_grow_the_pool_by_two() {
        let example = Example::read(&repository()).unwrap();
        let scaling = &example.spec.scaling;
        let target = example.spec.server.max_connections * scaling.target_utilization_percent / 100;
        let target = usize::try_from(target).unwrap();
        assert_eq!(scaling.buffer, IntOrString::Int(1));
        let wanted = |clients: usize| clients.div_ceil(target) + 1;
        let most = usize::try_from(scaling.max_replicas).unwrap();
        assert_eq!(wanted(STEADY + LINGER), example.minimum());
        assert!(wanted(STEADY + RAMP) >= example.minimum() + 2);
        assert!(
            wanted(STEADY + RAMP) <= most,
            "it grows by demand, not to a limit"
        );
        // The operator shrinks a pool only while its clients fit into nine tenths of the target.
        assert!((STEADY + LINGER) * 10 <= example.minimum() * target * 9);
        assert!((example.moves_per_second(0) - 1.5).abs() < 1e-9);
        assert_eq!(example.proxies(), 2);
    }
}
