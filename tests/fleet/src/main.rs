//! The bench of the operator as a program. `cargo xtask bench operator` builds it, and starts it
//! beside an API server without nodes.

mod agents;
mod api;
mod environment;
mod fleet;
mod kubelet;
mod measures;
mod nodes;
mod operator;
mod pods;
mod responder;
mod scrape;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use wsc_bench::report::{self, Row};
use wsc_testing::output::say;

/// What the bench of the operator measures; each needs an API server of its own.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Measure {
    Fleet,
    Large,
}

#[derive(Parser)]
#[command(name = "wsc-fleet")]
struct Options {
    measure: Measure,
    /// Clusters of the fleet
    #[arg(long, value_name = "N")]
    clusters: usize,
    /// Server pods of the large cluster
    #[arg(long, value_name = "N")]
    pods: usize,
    /// Write the rows, as JSON
    #[arg(long, value_name = "FILE")]
    json: PathBuf,
    /// Write the rows, as a table in Markdown
    #[arg(long, value_name = "FILE")]
    markdown: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Either way the operator ends with this program.
    let rows = tokio::select! {
        rows = take(&options) => rows?,
        _ = terminate.recv() => bail!("terminated"),
        _ = interrupt.recv() => bail!("interrupted"),
    };
    say(report::table(&rows).trim_end());
    for (file, text) in [
        (&options.json, serde_json::to_string(&rows)?),
        (&options.markdown, report::markdown(&rows)),
    ] {
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

async fn take(options: &Options) -> Result<Vec<Row>> {
    match options.measure {
        Measure::Fleet => measures::fleet::take(options.clusters).await,
        Measure::Large => measures::large::take(options.pods).await,
    }
}
