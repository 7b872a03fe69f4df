//! Builds what the bench compares our server with, out of `tests/bench/peers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cache::{Cache, Key};
use crate::go::Build;
use crate::process::{logged, output};
use crate::steps::{Progress, Steps};
use crate::{cargo, machine, repository};

/// Rust outside of the workspace: lint looks at it too.
pub const AXUM: &str = "tests/bench/peers/axum";
const NODE: &str = "tests/bench/peers/node";
const CENTRIFUGE: &str = "tests/bench/peers/centrifuge";

/// The built programs; Node's is a script.
pub struct Peers {
    pub axum: PathBuf,
    pub node: PathBuf,
    pub centrifuge: PathBuf,
}

/// The peers of this checkout; built when no run on this machine has built them.
pub fn build(cache: &Cache, steps: &Steps) -> Result<Peers> {
    Ok(Peers {
        axum: axum(cache, steps)?.join("peer-axum"),
        node: node(cache, steps)?.join("server.mjs"),
        centrifuge: centrifuge(cache, steps)?.join("centrifuge"),
    })
}

fn axum(cache: &Cache, steps: &Steps) -> Result<PathBuf> {
    let rustc = output(Command::new("rustc").arg("--version"))?;
    let files = ["Cargo.toml", "Cargo.lock", "src/main.rs"];
    make(cache, steps, AXUM, &rustc, &files, |source, folder, progress| {
        let target = folder.join("target");
        let mut cargo = repository::cargo();
        cargo.args(["build", "--release", "--locked", "--manifest-path"]);
        cargo
            .arg(source.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target);
        cargo::run(&mut cargo, cache, progress)?;
        fs::copy(target.join("release/peer-axum"), folder.join("peer-axum"))?;
        Ok(fs::remove_dir_all(target)?)
    })
}

fn node(cache: &Cache, steps: &Steps) -> Result<PathBuf> {
    let files = ["package.json", "package-lock.json", "server.mjs"];
    make(
        cache,
        steps,
        NODE,
        &node_version()?,
        &files,
        |source, folder, _| {
            for file in files {
                fs::copy(source.join(file), folder.join(file)).with_context(|| format!("copying {file}"))?;
            }
            let mut npm = Command::new("npm");
            npm.current_dir(folder);
            npm.args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]);
            logged(&mut npm, &cache.path("peer-node.log"))
        },
    )
}

fn centrifuge(cache: &Cache, steps: &Steps) -> Result<PathBuf> {
    let files = ["go.mod", "go.sum", "main.go"];
    make(
        cache,
        steps,
        CENTRIFUGE,
        &machine::go_version()?,
        &files,
        |source, folder, progress| {
            let build = Build {
                module: source,
                flags: &["-trimpath"],
                packages: &["."],
                to: &folder.join("centrifuge"),
                log: &cache.path("peer-centrifuge.log"),
            };
            build.run(progress)
        },
    )
}

/// A folder that depends on these files of the peer and on what builds or runs it.
fn make(
    cache: &Cache,
    steps: &Steps,
    peer: &str,
    tool: &str,
    files: &[&str],
    how: impl FnOnce(&Path, &Path, &Progress) -> Result<()>,
) -> Result<PathBuf> {
    let source = repository::path(peer);
    let mut key = Key::default().text(tool);
    for file in files {
        key = key.file(&source.join(file))?;
    }
    let short = peer.rsplit('/').next().unwrap_or(peer);
    let name = format!("peer-{short}-{}", key.finish());
    if !cache.path(&name).exists() {
        steps.run_counted(&format!("{short}, to compare with"), |progress| {
            cache.folder(&name, |folder| how(&source, folder, progress))
        })?;
    }
    Ok(cache.path(&name))
}

/// Node's version, or what to do about it.
fn node_version() -> Result<String> {
    output(Command::new("node").arg("--version"))
        .map(|version| version.trim().to_owned())
        .map_err(|err| {
            anyhow::anyhow!(
                "Node 20 or newer, with npm, is needed to compare with it (https://nodejs.org): {err}"
            )
        })
}

/// What was compared with, in words.
pub fn versions() -> Result<String> {
    let read = |peer: &str, file: &str| {
        let path = repository::path(peer).join(file);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let axum = read(AXUM, "Cargo.lock")?;
    let crate_version = |name| locked(&axum, name).with_context(|| format!("{AXUM} does not lock {name}"));
    let node: Value = serde_json::from_str(&read(NODE, "package.json")?)?;
    let package = |name: &str| {
        let version = node["dependencies"][name].as_str();
        version.with_context(|| format!("{NODE} does not pin {name}"))
    };
    let centrifuge = read(CENTRIFUGE, "go.mod")?;
    let centrifuge = required(&centrifuge, "github.com/centrifugal/centrifuge")
        .with_context(|| format!("{CENTRIFUGE} does not require it"))?;
    Ok(format!(
        "axum {} with tungstenite {}; Node {} with ws {} and redis {}; {} with centrifuge {centrifuge}",
        crate_version("axum")?,
        crate_version("tungstenite")?,
        node_version()?,
        package("ws")?,
        package("redis")?,
        machine::go_version()?.trim_start_matches("go version "),
    ))
}

/// The version of a crate in a `Cargo.lock`.
fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let wanted = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != wanted).skip(1);
    Some(lines.next()?.strip_prefix("version = \"")?.trim_end_matches('"'))
}

/// The version of a module in a `go.mod`.
fn required<'a>(text: &'a str, module: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        line.strip_prefix(module)?.strip_prefix(' ')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_files() {
        let lock = "[[package]]\nname = \"axum-core\"\nversion = \"0.5.6\"\n\n[[package]]\nname = \"axum\"\nversion = \"0.8.9\"\n";
        assert_eq!((locked(lock, "axum"), locked(lock, "axu")), (Some("0.8.9"), None));
        let modules =
            "module x\n\nrequire (\n\ta.b/cd v2.0.0 // indirect\n\ta.b/c v1.0.0\n)\nrequire d.e/f v3.0.0\n";
        assert_eq!(
            (
                required(modules, "a.b/c"),
                required(modules, "d.e/f"),
                required(modules, "a.b")
            ),
            (Some("v1.0.0"), Some("v3.0.0"), None)
        );
    }

    #[test]
    fn every_peer_is_pinned() {
        let lock = fs::read_to_string(repository::path(AXUM).join("Cargo.lock")).unwrap();
        assert!(locked(&lock, "axum").is_some() && locked(&lock, "tungstenite").is_some());
        let package = fs::read_to_string(repository::path(NODE).join("package.json")).unwrap();
        let package: Value = serde_json::from_str(&package).unwrap();
        for (name, version) in package["dependencies"].as_object().unwrap() {
            let version = version.as_str().unwrap();
            assert!(
                version.starts_with(|c: char| c.is_ascii_digit()),
                "{name} {version}"
            );
        }
        let modules = fs::read_to_string(repository::path(CENTRIFUGE).join("go.mod")).unwrap();
        assert!(required(&modules, "github.com/centrifugal/centrifuge").is_some());
    }
}
