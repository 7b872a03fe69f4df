//! `cargo xtask test`: lint, then every rung of the ladder, and one closing line.

mod lint;
mod modules;
mod outcome;
mod rungs;
mod suite;
mod words;

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;

use wsc_environment::cache::Cache;
use wsc_environment::interrupt;
use wsc_environment::steps::Steps;

use outcome::Outcome;

/// The rungs of the ladder, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rung {
    /// Format, clippy, dependencies, chart, generated files, house rules
    Lint,
    /// Values in, values out: unit tests of all crates
    Pure,
    /// Against a real HAProxy and a real Redis
    Component,
    /// Against a real API server without nodes
    Api,
    /// On the local Kubernetes
    E2e,
}

impl Rung {
    const ALL: [Self; 5] = [Self::Lint, Self::Pure, Self::Component, Self::Api, Self::E2e];

    fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Pure => "pure",
            Self::Component => "component",
            Self::Api => "api",
            Self::E2e => "e2e",
        }
    }
}

/// Runs one rung or all; the last line that is printed is `N passed, N failed`.
pub(crate) fn run(rung: Option<Rung>, filter: Option<&str>) -> Result<ExitCode> {
    // What runs in the background has to be ended, also after Ctrl-C.
    interrupt::hold()?;
    let cache = Cache::open()?;
    let steps = Steps::new();
    let rungs = rung.map_or_else(|| Rung::ALL.to_vec(), |rung| vec![rung]);
    let mut total = Outcome::default();
    for rung in rungs {
        println!("== {}", rung.name());
        let outcome = rungs::run(rung, &cache, &steps, filter).unwrap_or_else(|err| {
            println!("{}: {err:#}", rung.name());
            Outcome { passed: 0, failed: 1 }
        });
        if outcome == Outcome::default() {
            println!("{}: no test ran", rung.name());
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
