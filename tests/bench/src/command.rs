//! The command line of the bench, and its run.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use wsc_bench::measures::{MEASURES, Measure, take};
use wsc_bench::open_loop::{self, Tongue};
use wsc_bench::progress::Teller;
use wsc_bench::{CLIENT_CPU, crowd, door, floor, report, storm};
use wsc_testing::cpu;
use wsc_testing::output::say;

#[derive(Parser)]
#[command(name = "wsc-bench")]
struct Options {
    #[command(subcommand)]
    helper: Option<HelperKind>,
    /// One measure only
    #[arg(long, value_name = "MEASURE", value_parser = MEASURES.map(|measure| measure.name))]
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
    Crowd { port: u16, clients: usize, path: String },
    /// Clients that come and go
    #[command(hide = true)]
    Storm { port: u16, path: String },
    /// Clients that publish without waiting
    #[command(hide = true)]
    Publishers {
        tongue: Tongue,
        rooms: usize,
        members: usize,
        one: u16,
        other: u16,
    },
    /// The least that a broadcast costs
    #[command(hide = true)]
    Floor { clients: usize },
    /// The least that a handshake costs
    #[command(hide = true)]
    Door,
}

pub(crate) fn run() -> Result<ExitCode> {
    let options = Options::parse();
    match options.helper {
        Some(HelperKind::Crowd { port, clients, path }) => crowd::run(port, clients, &path)?,
        Some(HelperKind::Storm { port, path }) => storm::run(port, &path)?,
        Some(HelperKind::Publishers {
            tongue,
            rooms,
            members,
            one,
            other,
        }) => open_loop::run(tongue, rooms, members, [one, other])?,
        Some(HelperKind::Floor { clients }) => floor::run(clients)?,
        Some(HelperKind::Door) => door::run()?,
        None => {
            // Redis too; what is measured is put elsewhere.
            cpu::stay_on(&[CLIENT_CPU])?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            return runtime.block_on(bench(&options));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn bench(options: &Options) -> Result<ExitCode> {
    let chosen = |measure: &Measure| options.only.as_deref().is_none_or(|only| only == measure.name);
    let measures: Vec<Measure> = MEASURES.into_iter().filter(chosen).collect();
    let mut teller = Teller::new(&measures);
    let mut rows = Vec::new();
    for (place, measure) in measures.iter().enumerate() {
        teller.begin(place);
        let taken = take(measure.name, &mut |what| teller.tell(what)).await;
        rows.extend(taken.with_context(|| measure.name.to_owned())?);
        teller.end();
    }
    say(report::table(&rows).trim_end());
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&rows)? + "\n";
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &options.markdown {
        fs::write(path, report::markdown(&rows)).with_context(|| format!("writing {}", path.display()))?;
    }
    // A missed target is reported and does not fail the bench.
    Ok(ExitCode::SUCCESS)
}
