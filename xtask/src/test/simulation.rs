//! Options of the simulation in the unit tier.

use clap::Args;

/// What the simulation of the operator runs in the unit tier.
#[derive(Clone, Copy, Default, Args)]
pub(crate) struct Simulation {
    /// Number of simulated pools in the unit tier, each with its own script (default: 500)
    #[arg(long, requires = "tier", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) lives: Option<u32>,
    /// Seed of these scripts (default: 1)
    #[arg(long, requires = "tier")]
    pub(crate) seed: Option<u64>,
}
