//! What can be said about the code without running it; each check counts as one test.

mod circles;
pub(crate) mod deny;
mod house;
mod modules;
mod tokens;
mod words;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::outcome::Outcome;
use wsc_environment::cache::Cache;
use wsc_environment::process::output;
use wsc_environment::steps::Steps;
use wsc_environment::{cargo, helm, peers, repository};

/// Workspaces of their own: the fuzz targets want a nightly compiler, and the features of the peer are not for the server.
const BESIDE: [&str; 2] = ["server/fuzz", peers::AXUM];

pub(super) fn run(cache: &Cache, steps: &Steps) -> Result<Outcome> {
    let helm = helm::provide(cache, steps)?;
    let deny = deny::provide(cache, steps)?;
    let generator = cargo::program(cache, steps, "wsc-gen")?;
    let sources = sources()?;
    let mut total = Outcome::default();
    let mut check = |name: &str, outcome: Result<()>, began: Instant| {
        if let Err(err) = &outcome {
            println!("{err:#}");
        }
        let outcome = Outcome::of(outcome.is_ok());
        println!(
            "   {name:<32} {:<28} {:7.1} s",
            outcome.to_string(),
            began.elapsed().as_secs_f64()
        );
        total += outcome;
    };
    let mut timed = |name: &str, work: &mut dyn FnMut() -> Result<()>| {
        let began = Instant::now();
        check(name, work(), began);
    };
    timed("cargo fmt", &mut || {
        said(repository::cargo().args(["fmt", "--all", "--check", "--", "--color=never"]))?;
        for folder in BESIDE {
            let manifest = manifest(folder);
            let format = [
                "fmt",
                "--manifest-path",
                &manifest,
                "--check",
                "--",
                "--color=never",
            ];
            said(repository::cargo().args(format))?;
        }
        Ok(())
    });
    timed("clippy", &mut || clippy(cache, steps));
    timed("cargo deny", &mut || {
        said(repository::cargo_tool(&deny).args([
            "--locked",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ]))
    });
    timed("lock files beside", &mut || {
        for folder in BESIDE {
            let manifest = manifest(folder);
            let tree = ["tree", "--locked", "--depth=0", "--manifest-path", &manifest];
            said(repository::cargo().args(tree))?;
        }
        Ok(())
    });
    timed("helm lint", &mut || {
        said(
            Command::new(&helm)
                .args(["lint", "--strict"])
                .arg(repository::path("charts/websocket-operator")),
        )
    });
    timed("gen --check", &mut || {
        said(Command::new(&generator).arg("--check"))
    });
    timed("gofmt", &mut gofmt);
    timed("every file is in a module", &mut || {
        let folders = [".", BESIDE[0], BESIDE[1]];
        modules::check(&sources, &folders.map(manifest))
    });
    timed("no circle of imports", &mut || circles::check(&[manifest(".")]));
    timed("no test is ignored", &mut || house::no_ignored_test(&sources));
    timed("no banned word", &mut words::check);
    timed("files are short", &mut || house::short_files(&sources));
    Ok(total)
}

/// The manifest in a folder of the checkout.
fn manifest(folder: &str) -> String {
    repository::path(folder)
        .join("Cargo.toml")
        .to_string_lossy()
        .into_owned()
}

/// Runs it; what it said is the error when it failed.
fn said(command: &mut Command) -> Result<()> {
    let out = command
        .output()
        .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
    if !out.status.success() {
        bail!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(())
}

fn clippy(cache: &Cache, steps: &Steps) -> Result<()> {
    let mut clippy = repository::cargo();
    clippy.args([
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]);
    steps.run_counted("cargo clippy", |progress| {
        cargo::run(&mut clippy, cache, progress)
    })?;
    Ok(())
}

fn gofmt() -> Result<()> {
    let list = output(
        Command::new("gofmt")
            .arg("-l")
            .args(["tests/environment/kubernetes", "tests/bench/peers/centrifuge"].map(repository::path)),
    )?;
    if !list.trim().is_empty() {
        bail!("not formatted:\n{list}");
    }
    Ok(())
}

/// All Rust files of the repository that git knows or would take.
fn sources() -> Result<Vec<PathBuf>> {
    let root = repository::root();
    let mut git = Command::new("git");
    git.current_dir(&root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        "*.rs",
    ]);
    Ok(output(&mut git)?
        .lines()
        .map(|line| root.join(line))
        .filter(|path| path.exists())
        .collect())
}
