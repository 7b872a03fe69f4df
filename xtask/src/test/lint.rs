//! What can be said about the code without running it; each check counts as one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::modules;
use super::outcome::Outcome;
use super::words;
use wsc_environment::cache::Cache;
use wsc_environment::process::{logged, output};
use wsc_environment::steps::Steps;
use wsc_environment::{cargo, kubernetes, machine, peers, repository};

/// Checks licences, sources and doubled crates by `deny.toml`.
const CARGO_DENY: &str = "0.20.2";

/// Workspaces of their own: the fuzz targets want a nightly compiler, and the features of the peer are not for the server.
const BESIDE: [&str; 2] = ["server/fuzz", peers::AXUM];

/// A file has at most this many lines.
const FILE_LINES: usize = 500;

pub(super) fn run(cache: &Cache, steps: &Steps) -> Result<Outcome> {
    machine::packages(steps)?;
    let programs = kubernetes::build(cache, steps)?;
    let deny = cargo_deny(cache, steps)?;
    let helm = programs.path("helm");
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
    timed("clippy", &mut || clippy(cache));
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
        said(Command::new(cargo::program("wsc-gen")?).arg("--check"))
    });
    timed("gofmt", &mut gofmt);
    timed("every file is in a module", &mut || {
        let folders = [".", BESIDE[0], BESIDE[1]];
        modules::check(&sources, &folders.map(manifest))
    });
    timed("no test is ignored", &mut || no_ignored_test(&sources));
    timed("no banned word", &mut words::check);
    timed("files are short", &mut || short_files(&sources));
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

fn clippy(cache: &Cache) -> Result<()> {
    let mut cargo = repository::cargo();
    cargo.args([
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]);
    let log = cache.path("clippy.log");
    logged(&mut cargo, &log).map_err(|_| anyhow::anyhow!("{}", fs::read_to_string(&log).unwrap_or_default()))
}

/// cargo-deny, in a folder of its own, so that a person's other version is left alone.
fn cargo_deny(cache: &Cache, steps: &Steps) -> Result<PathBuf> {
    let name = format!("cargo-deny-{CARGO_DENY}");
    if !cache.path(&name).exists() {
        steps.run(&format!("cargo install cargo-deny {CARGO_DENY}"), || {
            cache.folder(&name, |folder| {
                let mut cargo = repository::cargo();
                cargo
                    .args([
                        "install",
                        "--locked",
                        "--quiet",
                        &format!("cargo-deny@{CARGO_DENY}"),
                        "--root",
                    ])
                    .arg(folder);
                logged(&mut cargo, &cache.path("cargo-deny.log"))
            })
        })?;
    }
    Ok(cache.path(name).join("bin/cargo-deny"))
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

fn no_ignored_test(sources: &[PathBuf]) -> Result<()> {
    offenders(sources, "an ignored test", |text| {
        text.lines().any(|line| line.trim_start().starts_with("#[ignore"))
    })
}

fn short_files(sources: &[PathBuf]) -> Result<()> {
    offenders(sources, &format!("more than {FILE_LINES} lines"), |text| {
        text.lines().count() > FILE_LINES
    })
}

fn offenders(sources: &[PathBuf], what: &str, bad: impl Fn(&str) -> bool) -> Result<()> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let mut found = Vec::new();
    for path in sources {
        if bad(&read(path)?) {
            found.push(path.display().to_string());
        }
    }
    if !found.is_empty() {
        bail!("{what}:\n{}", found.join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_test_is_found_and_talk_about_one_is_not() {
        let folder = std::env::temp_dir().join(format!("wsc-lint-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (good, bad) = (folder.join("good.rs"), folder.join("bad.rs"));
        fs::write(&good, "// no #[ignore] here\n").unwrap();
        fs::write(&bad, "    #[ignore = \"slow\"]\n    fn a() {}\n").unwrap();
        assert!(no_ignored_test(std::slice::from_ref(&good)).is_ok());
        let err = no_ignored_test(&[good, bad.clone()]).unwrap_err().to_string();
        assert!(err.contains("bad.rs") && !err.contains("good.rs"), "{err}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
