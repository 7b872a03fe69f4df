//! buildah with a store of its own in the cache. It needs no daemon and no registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::cache::Cache;
use crate::process::{logged, output};

/// Builds an image from a Dockerfile and a folder.
pub(crate) struct Build<'a> {
    pub(crate) image: &'a str,
    pub(crate) dockerfile: &'a Path,
    pub(crate) context: &'a Path,
    pub(crate) base: Option<&'a str>,
    pub(crate) labels: &'a [(&'static str, String)],
}

impl Build<'_> {
    /// Layers are kept for the next build.
    pub(crate) fn run(&self, cache: &Cache) -> Result<()> {
        let mut command = buildah(cache);
        command
            .args(["bud", "--layers", "--quiet", "--tag", self.image, "--file"])
            .arg(self.dockerfile);
        if let Some(base) = self.base {
            command.arg("--build-arg").arg(format!("BASE={base}"));
        }
        for (key, value) in self.labels {
            command.arg("--label").arg(format!("{key}={value}"));
        }
        let log = cache.path(format!(
            "{}.log",
            self.dockerfile.file_stem().unwrap_or_default().to_string_lossy()
        ));
        logged(command.arg(self.context), &log)
    }
}

fn buildah(cache: &Cache) -> Command {
    let mut command = Command::new("buildah");
    command
        .arg("--root")
        .arg(cache.path("store"))
        .arg("--runroot")
        .arg(cache.path("store-run"));
    command.env("BUILDAH_ISOLATION", "chroot");
    command
}

/// Is this image in the store?
pub(crate) fn has(cache: &Cache, image: &str) -> bool {
    output(buildah(cache).args(["inspect", "--type", "image", image])).is_ok()
}

/// Name and tag of every image in the store.
pub(crate) fn list(cache: &Cache) -> Result<Vec<String>> {
    let names = output(buildah(cache).args(["images", "--noheading", "--format", "{{.Name}}:{{.Tag}}"]))?;
    Ok(names.lines().map(str::to_owned).collect())
}

pub(crate) fn remove(cache: &Cache, image: &str) -> Result<()> {
    output(buildah(cache).args(["rmi", "--force", image])).map(drop)
}

/// Writes the image as a docker archive, under `tag`.
pub(crate) fn push(cache: &Cache, image: &str, file: &Path, tag: &str) -> Result<()> {
    output(
        buildah(cache)
            .args(["push", "--quiet", image])
            .arg(format!("docker-archive:{}:{tag}", file.display())),
    )
    .map(drop)
}

/// The same image under another name with other values of these labels: its layers stay the same.
pub(crate) fn relabel(
    cache: &Cache,
    base: &str,
    image: &str,
    labels: &[(&'static str, String)],
) -> Result<()> {
    let context = scratch(cache, "relabel")?;
    let dockerfile = context.join("relabel.Dockerfile");
    fs::write(&dockerfile, "ARG BASE\nFROM ${BASE}\n")?;
    let build = Build {
        image,
        dockerfile: &dockerfile,
        context: &context,
        base: Some(base),
        labels,
    };
    build.run(cache)
}

/// An empty folder to build an image from.
pub(crate) fn scratch(cache: &Cache, name: &str) -> Result<PathBuf> {
    let folder = cache.path("context").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
