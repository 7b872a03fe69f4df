//! The test tiers, and what each needs.

use clap::ValueEnum;
use wsc_environment::plan::Need;

/// The test tiers, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// Format, clippy, dependencies, chart, generated files, house rules
    Lint,
    /// Unit tests of all crates, without I/O
    Unit,
    /// Against a real HAProxy and a real Redis
    Component,
    /// Against a real API server without nodes
    Api,
    /// On the local Kubernetes
    E2e,
}

impl Tier {
    pub(super) const ALL: [Self; 5] = [Self::Lint, Self::Unit, Self::Component, Self::Api, Self::E2e];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Component => "component",
            Self::Api => "api",
            Self::E2e => "e2e",
        }
    }

    /// What it has to have before its first test.
    pub(super) fn needs(self) -> &'static [Need] {
        use Need::{DebianPackages, Helm, Images, Kubernetes, Programs, Tests};
        match self {
            Self::Lint => &[Tests, Helm],
            Self::Unit => &[Tests],
            Self::Component => &[DebianPackages, Programs, Tests],
            Self::Api => &[DebianPackages, Programs, Tests, Helm, Kubernetes],
            Self::E2e => &[DebianPackages, Programs, Tests, Helm, Kubernetes, Images],
        }
    }
}
