//! One simulated day of a pool: the operator's decisions (`wsc_core::decide`) and the rules of the
//! HPA on the same demand, scored by moved clients. The model and its source: `docs/benchmarks.md`.

mod day;
mod numbers;
mod picture;
mod report;
mod rules;
mod score;
#[cfg(test)]
mod tests;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

use day::Day;
use report::Row;
use rules::Rules;
use rules::hpa::{Hpa, Victim};
use rules::operator::Operator;
use score::Score;
use world::World;
use wsc_testing::output::say;

/// Options of the simulator.
#[derive(Debug, Parser)]
#[command(name = "wsc-sim")]
pub struct Options {
    /// Of all that is random: ends of sessions, reconnect delays, jitter of samples, victims
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Write the rows, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the largest day as a picture, as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Write the rows, as a table in Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

/// Clients at noon: the day of the model's source, and a pool of twice the size.
const SIZES: [i64; 2] = [100_000, 200_000];

/// Plays each day under each of the rules, and reports.
///
/// # Errors
/// When the operator's resource is invalid or a file cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let mut rows = Vec::new();
    let mut picture = String::new();
    for clients in SIZES {
        let day = Day::whole(clients);
        let operator = play(Operator::new()?, &day, options.seed)?;
        let random = play(Hpa::new(Victim::Random), &day, options.seed)?;
        let emptiest = play(Hpa::new(Victim::Emptiest), &day, options.seed)?;
        picture = picture::render(&day, &operator, &random);
        rows.push(Row::of_operator(clients, &operator));
        rows.push(Row::of_hpa(clients, "HPA rules, random victim", &random));
        rows.push(Row::of_hpa(clients, "HPA rules, emptiest victim", &emptiest));
    }
    say(report::markdown(&rows).trim_end());
    write(options.markdown.as_deref(), || Ok(report::markdown(&rows)))?;
    write(options.json.as_deref(), || {
        Ok(serde_json::to_string_pretty(&rows)?)
    })?;
    write(options.svg.as_deref(), || Ok(picture))
}

fn write(path: Option<&Path>, text: impl FnOnce() -> Result<String>) -> Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    fs::write(path, text()?).with_context(|| format!("writing {}", path.display()))
}

/// A day from its first second to its last, after the warm-up.
fn play(mut rules: impl Rules, day: &Day, seed: u64) -> Result<Score> {
    let mut world = World::new(day.clone(), seed);
    let mut score = Score::default();
    while world.clock < day.ends {
        world.step();
        rules.step(&mut world)?;
        if world.clock >= day.begins {
            score.second(&world, rules.pods(&world));
        }
    }
    Ok(score)
}
