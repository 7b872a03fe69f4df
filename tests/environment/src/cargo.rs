//! Builds this repository's programs and tests, always with the one profile, so that all commands share what was built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::output;
use crate::repository;

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

/// Builds all programs of the workspace. (All at once: one selection of features, so nothing is built twice.)
pub fn programs() -> Result<Programs> {
    let found =
        executables(repository::cargo().args(["build", "--release", "--locked", "--workspace", "--bins"]))?;
    Ok(Programs(
        found
            .into_iter()
            .map(|executable| (executable.target, executable.path))
            .collect(),
    ))
}

/// Builds one program of the workspace, with the features that all of them have.
pub fn program(name: &str) -> Result<PathBuf> {
    let found = executables(repository::cargo().args([
        "build",
        "--release",
        "--locked",
        "--workspace",
        "--bin",
        name,
    ]))?;
    let mut found = found.into_iter().filter(|executable| executable.target == name);
    let program = found
        .next()
        .with_context(|| format!("the workspace has no program {name}"))?;
    Ok(program.path)
}

/// Builds the unit tests of all crates.
pub fn unit_tests() -> Result<Vec<Executable>> {
    tests(&["--lib", "--bins"])
}

/// Builds the integration tests of these packages.
pub fn integration_tests(packages: &[&str]) -> Result<Vec<Executable>> {
    let metadata =
        output(repository::cargo().args(["metadata", "--no-deps", "--format-version=1", "--locked"]))?;
    let names = integration_test_names(&serde_json::from_str(&metadata)?, packages);
    if names.is_empty() {
        bail!("no integration test in {}", packages.join(", "));
    }
    let selection: Vec<&str> = names.iter().flat_map(|name| ["--test", name]).collect();
    let mut found = tests(&selection)?;
    found.retain(|executable| packages.contains(&executable.package.as_str()));
    Ok(found)
}

/// Builds one integration test of a package.
pub fn integration_test(package: &str, name: &str) -> Result<Vec<Executable>> {
    let mut found = tests(&["--test", name])?;
    found.retain(|executable| executable.package == package);
    Ok(found)
}

/// Selects targets and never packages: with `--package` the dependencies would be built again with other features.
fn tests(selection: &[&str]) -> Result<Vec<Executable>> {
    let mut cargo = repository::cargo();
    cargo
        .args(["test", "--release", "--locked", "--workspace", "--no-run"])
        .args(selection);
    // `cargo test` builds programs for integration tests too; those are no tests.
    let mut found = executables_where(&mut cargo, |message| {
        message["profile"]["test"] == Value::Bool(true)
    })?;
    found.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(found)
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

fn executables(cargo: &mut Command) -> Result<Vec<Executable>> {
    executables_where(cargo, |_| true)
}

/// Errors of the compiler go to the terminal as they come.
fn executables_where(cargo: &mut Command, wanted: impl Fn(&Value) -> bool) -> Result<Vec<Executable>> {
    let out = cargo
        .args(["--quiet", "--message-format=json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    if !out.status.success() {
        bail!("the build failed");
    }
    let messages = String::from_utf8_lossy(&out.stdout);
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages
        .filter(wanted)
        .filter_map(|message| executable(&message))
        .collect())
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
    fn the_package_of_an_id() {
        assert_eq!(package("path+file:///x/operator/core#wsc-core@0.1.0"), "wsc-core");
        assert_eq!(package("path+file:///x/xtask#0.1.0"), "xtask");
    }

    #[test]
    fn integration_tests_are_those_of_the_packages_that_were_named() {
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
