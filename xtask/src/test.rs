//! `cargo xtask test`: lint, then every tier, and one closing line.

pub(crate) mod lint;
mod outcome;
mod suite;
mod tiers;

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;

use wsc_environment::cache::Cache;
use wsc_environment::interrupt;
use wsc_environment::steps::Steps;

use outcome::Outcome;

/// The test tiers, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// Format, clippy, dependencies, chart, generated files, house rules
    Lint,
    /// Values in, values out: unit tests of all crates
    Unit,
    /// Against a real HAProxy and a real Redis
    Component,
    /// Against a real API server without nodes
    Api,
    /// On the local Kubernetes
    E2e,
}

impl Tier {
    const ALL: [Self; 5] = [Self::Lint, Self::Unit, Self::Component, Self::Api, Self::E2e];

    fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Component => "component",
            Self::Api => "api",
            Self::E2e => "e2e",
        }
    }
}

/// Runs one tier or all; the last line that is printed is `N passed, N failed`.
pub(crate) fn run(tier: Option<Tier>, filter: Option<&str>) -> Result<ExitCode> {
    // What runs in the background has to be ended, also after Ctrl-C.
    interrupt::hold()?;
    let cache = Cache::open()?;
    let steps = Steps::new();
    let mut total = Outcome::default();
    for tier in tier.map_or_else(|| Tier::ALL.to_vec(), |tier| vec![tier]) {
        println!("== {}", tier.name());
        let outcome = tiers::run(tier, &cache, &steps, filter).unwrap_or_else(|err| {
            println!("{}: {err:#}", tier.name());
            Outcome { passed: 0, failed: 1 }
        });
        if outcome == Outcome::default() {
            println!("{}: no test ran", tier.name());
            total.failed += 1;
        }
        total += outcome;
        if interrupt::happened() {
            println!("interrupted");
            total.failed = total.failed.max(1);
            break;
        }
    }
    println!("{total}");
    Ok(if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
