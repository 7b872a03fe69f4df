//! What a run has to make that no run on this machine has made yet, and how long that takes:
//! printed before the first step.

use std::fs;

use anyhow::Result;

use crate::cache::Cache;
use crate::steps::Steps;
use crate::{helm, images, kubernetes, machine, repository};

/// Something that takes minutes where it is not cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    DebianPackages,
    /// The programs of this repository.
    Programs,
    /// The test programs of this repository.
    Tests,
    Helm,
    Kubernetes,
    Images,
}

impl Need {
    /// What is made, and its minutes: of a demo with empty caches at 4e2bb51, on two slow cores
    /// with nothing beside it; the tests of a run of all tests at 0c70fb0, on two cores that other
    /// builds shared.
    fn work(self) -> (&'static str, u32) {
        match self {
            Self::DebianPackages => ("packages of Debian", 1),
            Self::Programs => ("cargo build: the programs of this repository", 11),
            Self::Tests => ("cargo: the tests of this repository, and clippy", 14),
            Self::Helm => ("go build: Helm", 2),
            Self::Kubernetes => ("go build: Kubernetes, etcd, containerd", 12),
            Self::Images => ("images", 1),
        }
    }

    fn is_met(self, cache: &Cache) -> Result<bool> {
        Ok(match self {
            Self::DebianPackages => machine::missing().is_empty(),
            Self::Programs => built("wsc-operator"),
            Self::Tests => fs::read_dir(repository::target().join("release/deps")).is_ok_and(|files| {
                let mut names = files.flatten().map(|file| file.file_name());
                names.any(|name| name.to_string_lossy().starts_with("wsc_core-"))
            }),
            Self::Helm => cache.path(helm::name()?).exists(),
            Self::Kubernetes => cache.path(kubernetes::name()?).exists(),
            Self::Images => images::last(cache).is_some(),
        })
    }
}

fn built(program: &str) -> bool {
    repository::target().join("release").join(program).exists()
}

/// Says what is missing and how long it will take; nothing when all is there.
pub fn announce(cache: &Cache, steps: &Steps, needs: &[Need]) -> Result<()> {
    let mut missing = Vec::new();
    for need in needs {
        if !need.is_met(cache)? {
            missing.push(need.work());
        }
    }
    for line in lines(&missing) {
        steps.note(&line);
    }
    Ok(())
}

fn lines(missing: &[(&str, u32)]) -> Vec<String> {
    if missing.is_empty() {
        return Vec::new();
    }
    let minutes: u32 = missing.iter().map(|(_, minutes)| minutes).sum();
    let first = format!("not made on this machine yet, about {minutes} minutes on two cores, once:");
    let each = missing
        .iter()
        .map(|(what, minutes)| format!("  {minutes:>2} min  {what}"));
    [first].into_iter().chain(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_announced() {
        assert_eq!(lines(&[]), [""; 0]);
        assert_eq!(
            lines(&[Need::Helm.work(), Need::Kubernetes.work()]),
            [
                "not made on this machine yet, about 14 minutes on two cores, once:",
                "   2 min  go build: Helm",
                "  12 min  go build: Kubernetes, etcd, containerd"
            ]
        );
    }
}
