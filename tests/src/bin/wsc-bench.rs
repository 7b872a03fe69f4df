//! The bench of the server as a program. `cargo xtask bench server` builds it with what it measures, and starts it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use wsc_tests::bench::measures::{MEASURES, take};
use wsc_tests::bench::{CLIENT_CPU, cpu, crowd, floor, report};
use wsc_tests::demo::output::say;

#[derive(Parser)]
#[command(name = "wsc-bench")]
struct Options {
    #[command(subcommand)]
    helper: Option<HelperKind>,
    /// One measure only
    #[arg(long, value_name = "MEASURE", value_parser = MEASURES)]
    only: Option<String>,
    /// Write the rows, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the rows, as a table in Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(Subcommand)]
enum HelperKind {
    /// Many clients
    #[command(hide = true)]
    Crowd { port: u16, clients: usize },
    /// The least that a broadcast costs
    #[command(hide = true)]
    Floor { clients: usize },
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    match options.helper {
        Some(HelperKind::Crowd { port, clients }) => crowd::run(port, clients)?,
        Some(HelperKind::Floor { clients }) => floor::run(clients)?,
        None => {
            // Redis too; what is measured is put elsewhere.
            cpu::stay_on(CLIENT_CPU)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            return runtime.block_on(bench(&options));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn bench(options: &Options) -> Result<ExitCode> {
    let mut rows = Vec::new();
    let chosen = MEASURES
        .into_iter()
        .filter(|measure| options.only.as_deref().is_none_or(|only| only == *measure));
    for measure in chosen {
        let taken = take(measure, &mut |what| say(&format!("{measure}: {what}"))).await;
        rows.extend(taken.with_context(|| measure.to_owned())?);
    }
    say(report::table(&rows).trim_end());
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&rows)? + "\n";
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &options.markdown {
        fs::write(path, report::markdown(&rows)).with_context(|| format!("writing {}", path.display()))?;
    }
    // What is not met is told, and is no failure of the bench.
    Ok(ExitCode::SUCCESS)
}
