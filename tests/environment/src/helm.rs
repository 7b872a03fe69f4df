//! Helm, out of the Go module of the local Kubernetes, but without Kubernetes: lint needs nothing
//! else of it.

use std::path::PathBuf;

use anyhow::Result;

use crate::cache::{Cache, Key};
use crate::go::Build;
use crate::kubernetes::{COMPILER, MODULE, TAGS};
use crate::steps::Steps;
use crate::{machine, repository};

const PACKAGE: &str = "helm.sh/helm/v4/cmd/helm";

/// The program; built when no run on this machine has built it.
pub fn provide(cache: &Cache, steps: &Steps) -> Result<PathBuf> {
    let name = name()?;
    let folder = if cache.path(&name).exists() {
        cache.path(&name)
    } else {
        steps.run_counted("go build: Helm", |progress| {
            cache.folder(&name, |folder| {
                let build = Build {
                    module: &repository::path(MODULE),
                    // As for Kubernetes, so that Go compiles what both use once.
                    flags: &["-trimpath", COMPILER, TAGS, "-ldflags=-s -w"],
                    packages: &[PACKAGE],
                    to: &folder.join("helm"),
                    log: &cache.path("go-build-helm.log"),
                };
                build.run(progress)
            })
        })?
    };
    Ok(folder.join("helm"))
}

/// The folder in the cache.
pub(crate) fn name() -> Result<String> {
    let module = repository::path(MODULE);
    let key = Key::default()
        .text(&machine::go_version()?)
        .file(&module.join("go.mod"))?
        .file(&module.join("go.sum"))?;
    Ok(format!("helm-{}", key.finish()))
}
