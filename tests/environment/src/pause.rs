//! The image of the pause container, which every pod of the local Kubernetes needs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::buildah::{self, Build};
use crate::cache::{Cache, Key};
use crate::process::output;
use crate::repository;
use crate::steps::Steps;

/// As an archive.
pub(crate) fn provide(cache: &Cache, steps: &Steps) -> Result<PathBuf> {
    let sources = repository::path("tests/environment/kubernetes/images");
    let key = Key::default()
        .file(&sources.join("pause.c"))?
        .file(&sources.join("pause.Dockerfile"))?
        .finish();
    let name = format!("images/pause-{key}.tar");
    if cache.path(&name).exists() {
        return Ok(cache.path(&name));
    }
    steps.run("image of the pause container", || {
        cache.file(&name, |file| {
            let context = buildah::scratch(cache, "pause")?;
            output(
                Command::new("gcc")
                    .args(["-static", "-Os", "-s", "-o"])
                    .arg(context.join("pause"))
                    .arg(sources.join("pause.c")),
            )?;
            let build = Build {
                image: "localhost/pause:1",
                dockerfile: &sources.join("pause.Dockerfile"),
                context: &context,
                base: None,
                labels: &[],
            };
            build.run(cache)?;
            buildah::push(cache, "localhost/pause:1", file, "localhost/pause:1")
        })
    })
}
