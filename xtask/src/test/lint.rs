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
use wsc_environment::{cargo, helm, interrupt, peers, repository};

/// Workspaces of their own: the fuzz targets want a nightly compiler, and the features of the peer
/// are not for the server.
const BESIDE: [&str; 2] = ["server/fuzz", peers::AXUM];

/// What the checks share.
struct Lint<'a> {
    cache: &'a Cache,
    steps: &'a Steps,
}

type Check = fn(&Lint<'_>) -> Result<()>;

const CHECKS: [(&str, Check); 14] = [
    ("cargo fmt", |_| cargo_fmt()),
    ("clippy", clippy),
    ("cargo deny", cargo_deny),
    ("lock files beside", |_| lock_files()),
    ("helm lint", helm_lint),
    ("gen --check", gen_check),
    ("gofmt", |_| gofmt()),
    ("every file is in a module", |_| {
        modules::check(&sources()?, &[".", BESIDE[0], BESIDE[1]].map(manifest))
    }),
    ("no circle of imports", |_| circles::check(&[manifest(".")])),
    ("no test is ignored", |_| house::no_ignored_test(&sources()?)),
    ("no banned word", |_| words::check()),
    ("files are short", |_| house::short_files(&sources()?)),
    ("comments are wrapped", |_| house::wrapped_comments(&sources()?)),
    ("test names are short", |_| house::short_test_names(&sources()?)),
];

/// Runs the checks whose name contains the filter, until an interrupt.
pub(super) fn run(cache: &Cache, steps: &Steps, filter: Option<&str>) -> Outcome {
    let lint = Lint { cache, steps };
    let mut total = Outcome::default();
    let chosen = CHECKS
        .iter()
        .filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter)));
    for (name, check) in chosen.take_while(|_| !interrupt::happened()) {
        let began = Instant::now();
        let outcome = check(&lint);
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
    }
    total
}

fn cargo_fmt() -> Result<()> {
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
}

fn cargo_deny(lint: &Lint<'_>) -> Result<()> {
    let deny = deny::provide(lint.cache, lint.steps)?;
    said(repository::cargo_tool(&deny).args([
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))
}

fn lock_files() -> Result<()> {
    for folder in BESIDE {
        let manifest = manifest(folder);
        let tree = ["tree", "--locked", "--depth=0", "--manifest-path", &manifest];
        said(repository::cargo().args(tree))?;
    }
    Ok(())
}

fn helm_lint(lint: &Lint<'_>) -> Result<()> {
    let helm = helm::provide(lint.cache, lint.steps)?;
    let chart = repository::path("charts/websocket-operator");
    said(Command::new(helm).args(["lint", "--strict"]).arg(chart))
}

fn gen_check(lint: &Lint<'_>) -> Result<()> {
    let generator = cargo::program(lint.cache, lint.steps, "wsc-gen")?;
    said(Command::new(generator).arg("--check"))
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

fn clippy(lint: &Lint<'_>) -> Result<()> {
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
    lint.steps.run_counted("cargo clippy", |progress| {
        cargo::run(&mut clippy, lint.cache, progress)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_selects_checks_by_name() {
        let (cache, steps) = (
            Cache::at(std::env::temp_dir().join("wsc-lint-cache")).unwrap(),
            Steps::new(),
        );
        assert_eq!(run(&cache, &steps, Some("ignored")), Outcome::of(true));
        assert_eq!(run(&cache, &steps, Some("no such check")), Outcome::default());
    }
}
