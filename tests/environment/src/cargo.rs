//! Builds this repository's programs and tests, always with the one profile, so that all commands
//! share what was built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cache::Cache;
use crate::process::{followed, output};
use crate::repository;
use crate::steps::{Progress, Steps};

/// A program or a test program that cargo has built.
#[derive(Clone, Debug, PartialEq)]
pub struct Executable {
    pub package: String,
    /// The folder of its package, which is the working directory of its tests.
    pub folder: PathBuf,
    /// The name of the target: of the program, or of the file in `tests/`.
    pub target: String,
    pub path: PathBuf,
}

/// The programs of the workspace by their name.
pub struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    pub fn path(&self, name: &str) -> Result<&Path> {
        self.0
            .get(name)
            .map(PathBuf::as_path)
            .with_context(|| format!("the workspace has no program {name}"))
    }
}

/// Builds all programs of the workspace. (All at once: one selection of features, so nothing is
/// built twice.)
pub fn programs(cache: &Cache, steps: &Steps) -> Result<Programs> {
    let found = build(cache, steps, "cargo build", &["build", "--bins"], |_| true)?;
    Ok(Programs(
        found
            .into_iter()
            .map(|executable| (executable.target, executable.path))
            .collect(),
    ))
}

/// Builds one program of the workspace, with the features that all of them have.
pub fn program(cache: &Cache, steps: &Steps, name: &str) -> Result<PathBuf> {
    let step = format!("cargo build {name}");
    let found = build(cache, steps, &step, &["build", "--bin", name], |_| true)?;
    let mut found = found.into_iter().filter(|executable| executable.target == name);
    let program = found
        .next()
        .with_context(|| format!("the workspace has no program {name}"))?;
    Ok(program.path)
}

/// Builds the unit tests of all crates.
pub fn unit_tests(cache: &Cache, steps: &Steps) -> Result<Vec<Executable>> {
    tests(cache, steps, "cargo test --no-run: unit", &["--lib", "--bins"])
}

/// Builds the integration tests of these packages.
pub fn integration_tests(cache: &Cache, steps: &Steps, packages: &[&str]) -> Result<Vec<Executable>> {
    let metadata =
        output(repository::cargo().args(["metadata", "--no-deps", "--format-version=1", "--locked"]))?;
    let names = integration_test_names(&serde_json::from_str(&metadata)?, packages);
    if names.is_empty() {
        bail!("no integration test in {}", packages.join(", "));
    }
    let selection: Vec<&str> = names.iter().flat_map(|name| ["--test", name]).collect();
    let step = format!("cargo test --no-run: {}", packages.join(", "));
    let mut found = tests(cache, steps, &step, &selection)?;
    found.retain(|executable| packages.contains(&executable.package.as_str()));
    Ok(found)
}

/// Builds one integration test of a package.
pub fn integration_test(cache: &Cache, steps: &Steps, package: &str, name: &str) -> Result<Vec<Executable>> {
    let step = format!("cargo test --no-run: {name}");
    let mut found = tests(cache, steps, &step, &["--test", name])?;
    found.retain(|executable| executable.package == package);
    Ok(found)
}

fn tests(cache: &Cache, steps: &Steps, step: &str, selection: &[&str]) -> Result<Vec<Executable>> {
    let arguments = [&["test", "--no-run"], selection].concat();
    // `cargo test` builds programs for integration tests too; those are no tests.
    let mut found = build(cache, steps, step, &arguments, |message| {
        message["profile"]["test"] == Value::Bool(true)
    })?;
    found.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(found)
}

/// Selects targets and never packages: with `--package` the dependencies would be built again with
/// other features.
fn build(
    cache: &Cache,
    steps: &Steps,
    step: &str,
    arguments: &[&str],
    wanted: impl Fn(&Value) -> bool,
) -> Result<Vec<Executable>> {
    let mut cargo = repository::cargo();
    cargo.args(arguments).args([
        "--release",
        "--locked",
        "--workspace",
        "--message-format=json-render-diagnostics",
    ]);
    let messages = steps.run_counted(step, |progress| run(&mut cargo, cache, progress))?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages
        .filter(wanted)
        .filter_map(|message| executable(&message))
        .collect())
}

/// Runs a cargo command that builds and reports the crate that it is at. Returns its standard
/// output; an error holds what it said.
pub fn run(cargo: &mut Command, cache: &Cache, progress: &Progress) -> Result<String> {
    // The bar is all that stable cargo says about the number of crates.
    cargo
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "120")
        .env("CARGO_TERM_COLOR", "never");
    let mut said = String::new();
    let out = followed(cargo, &cache.path("cargo.log"), |line| {
        if let Some(crates) = counted(line) {
            progress.set(crates);
            return true;
        }
        said.push_str(line);
        said.push('\n');
        false
    });
    out.map_err(|_| anyhow::anyhow!("{}", said.trim_end()))
}

/// `crate 12 of 345: serde, syn` out of `Building [=>   ] 12/345: serde, syn`.
fn counted(line: &str) -> Option<String> {
    let (_, rest) = line.trim_start().strip_prefix("Building [")?.split_once("] ")?;
    let (count, names) = rest.split_once(':').unwrap_or((rest, ""));
    let (done, all) = count.trim().split_once('/')?;
    let (done, all): (usize, usize) = (done.parse().ok()?, all.parse().ok()?);
    let names = names.trim_end();
    let colon = if names.is_empty() { "" } else { ":" };
    Some(format!("crate {done} of {all}{colon}{names}"))
}

fn integration_test_names(metadata: &Value, packages: &[&str]) -> BTreeSet<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ours = list(&metadata["packages"]).into_iter();
    let ours = ours.filter(|package| {
        package["name"]
            .as_str()
            .is_some_and(|name| packages.contains(&name))
    });
    let targets = ours.flat_map(|package| list(&package["targets"]));
    let tests = targets.filter(|target| list(&target["kind"]).iter().any(|kind| kind == "test"));
    tests
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect()
}

fn executable(message: &Value) -> Option<Executable> {
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    Some(Executable {
        package: package(message["package_id"].as_str()?),
        folder: manifest.parent()?.to_path_buf(),
        target: message["target"]["name"].as_str()?.to_owned(),
        path: PathBuf::from(message["executable"].as_str()?),
    })
}

/// The name in `path+file:///x/operator/core#wsc-core@0.1.0` or `path+file:///x/xtask#0.1.0`.
fn package(id: &str) -> String {
    let (path, fragment) = id.rsplit_once('#').unwrap_or(("", id));
    match fragment.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => path.rsplit('/').next().unwrap_or(fragment).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_of_cargo_is_counted() {
        let bar = "    Building [=====>       ] 12/345: serde, syn            ";
        assert_eq!(counted(bar).unwrap(), "crate 12 of 345: serde, syn");
        assert_eq!(counted("Building [==>] 3/3").unwrap(), "crate 3 of 3");
        assert_eq!(counted("   Compiling serde v1.0.228"), None);
    }

    #[test]
    fn the_package_of_an_id() {
        assert_eq!(package("path+file:///x/operator/core#wsc-core@0.1.0"), "wsc-core");
        assert_eq!(package("path+file:///x/xtask#0.1.0"), "xtask");
    }

    #[test]
    fn integration_tests_are_of_the_named_packages() {
        let metadata = r#"{"packages":[
            {"name":"wsc-server","targets":[{"kind":["lib"],"name":"wsc_server"},{"kind":["test"],"name":"bus"}]},
            {"name":"wsc-tests","targets":[{"kind":["test"],"name":"e2e"}]}]}"#;
        let metadata = serde_json::from_str(metadata).unwrap();
        assert_eq!(
            integration_test_names(&metadata, &["wsc-server"]),
            BTreeSet::from(["bus".to_owned()])
        );
        assert!(integration_test_names(&metadata, &["xtask"]).is_empty());
    }

    #[test]
    fn only_messages_with_an_executable_count() {
        let line = r#"{"package_id":"path+file:///x/server#wsc-server@0.1.0","manifest_path":"/x/server/Cargo.toml","target":{"name":"bus"},"executable":"/t/bus-1"}"#;
        let found = executable(&serde_json::from_str(line).unwrap()).unwrap();
        assert_eq!(
            (
                found.package.as_str(),
                found.target.as_str(),
                found.folder.to_str().unwrap()
            ),
            ("wsc-server", "bus", "/x/server")
        );
        let library = line.replace("\"/t/bus-1\"", "null");
        assert_eq!(executable(&serde_json::from_str(&library).unwrap()), None);
    }
}
