//! `cargo xtask test`: lint, then every tier, and one closing line.

pub(crate) mod lint;
mod outcome;
mod simulation;
mod suite;
mod tier;
mod tiers;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;

use wsc_environment::cache::Cache;
use wsc_environment::interrupt;
use wsc_environment::plan::{self, Need};
use wsc_environment::steps::Steps;

use outcome::Outcome;
pub(crate) use simulation::Simulation;
pub(crate) use tier::Tier;

/// Runs one tier or all; the last line that is printed is `N passed, N failed`.
pub(crate) fn run(tier: Option<Tier>, filter: Option<&str>, simulation: Simulation) -> Result<ExitCode> {
    // Background processes are stopped, also after Ctrl-C.
    interrupt::hold()?;
    let cache = Cache::open()?;
    let steps = Steps::new();
    let tiers = tier.map_or_else(|| Tier::ALL.to_vec(), |tier| vec![tier]);
    let needs: BTreeSet<Need> = tiers.iter().flat_map(|tier| tier.needs()).copied().collect();
    plan::announce(&cache, &steps, &needs.into_iter().collect::<Vec<_>>())?;
    let mut total = Outcome::default();
    for tier in tiers {
        println!("== {}", tier.name());
        let outcome = tiers::run(tier, &cache, &steps, filter, simulation).unwrap_or_else(|err| {
            println!("{}: {err:#}", tier.name());
            Outcome { passed: 0, failed: 1 }
        });
        if outcome == Outcome::default() && !interrupt::happened() {
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
