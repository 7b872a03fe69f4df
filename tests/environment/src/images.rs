//! The shipped images: built from `images/*.Dockerfile`, loaded into the local Kubernetes, exported
//! for others.

mod archive;
pub mod checks;
mod image;
mod labels;
mod recipe;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::buildah;
use crate::cache::Cache;
use crate::cluster::Cluster;
use crate::debian::{self, Package};
use crate::process::output;
use crate::steps::Steps;
use crate::{cargo, machine};

use archive::Archive;
pub use image::Images;
pub(crate) use image::last;
use image::{IMAGES, Image, archive_name, archive_path};
use recipe::{Base, Recipe};

/// `cargo xtask images`.
pub fn run(export_to: Option<&Path>) -> Result<()> {
    let cache = Cache::open()?;
    let steps = Steps::new();
    machine::packages(&steps)?;
    machine::need_root("building images")?;
    let programs = cargo::programs(&cache, &steps)?;
    let _lock = cache.lock()?;
    let images = build(&cache, &steps, &programs)?;
    if let Ok(cluster) = Cluster::running(&cache) {
        load(&cache, &steps, &cluster, &images)?;
    }
    if let Some(folder) = export_to {
        export(&cache, &steps, &images, folder)?;
    }
    Ok(())
}

/// Builds what changed and loads it into the cluster. (Under one lock: another checkout removes
/// what it does not know.)
pub fn provide(
    cache: &Cache,
    steps: &Steps,
    programs: &cargo::Programs,
    cluster: &Cluster,
) -> Result<Images> {
    let _lock = cache.lock()?;
    let images = build(cache, steps, programs)?;
    load(cache, steps, cluster, &images)?;
    Ok(images)
}

/// The image of the server, built if it changed, as an archive.
pub fn server(cache: &Cache, steps: &Steps, programs: &cargo::Programs) -> Result<PathBuf> {
    let _lock = cache.lock()?;
    let images = build(cache, steps, programs)?;
    Ok(archive_path(cache, &images, "server"))
}

/// The packages of Debian in each image of the last build, by the image's own label.
pub fn packages(cache: &Cache) -> Result<BTreeMap<&'static str, BTreeSet<Package>>> {
    let images = last(cache).context("no images are built here: run `cargo xtask images`")?;
    let packages = |image: &Image| {
        let archive = Archive::open(archive_path(cache, &images, image.name))?;
        let packages = debian::parse_words(archive.label(labels::PACKAGES))
            .with_context(|| format!("{} has no list of packages", images.reference(image.name)))?;
        Ok((image.name, packages))
    };
    IMAGES.iter().map(packages).collect()
}

/// Builds what changed. An image is named by its content, so a name never means two things.
fn build(cache: &Cache, steps: &Steps, programs: &cargo::Programs) -> Result<Images> {
    let debian = debian::provide(cache, steps)?;
    let base = Base::new(&debian)?;
    let mut images = Images(BTreeMap::new());
    for image in &IMAGES {
        let program = image.program.map(|name| programs.path(name)).transpose()?;
        let recipe = Recipe::new(image, program, &base, debian.above(image.name)?)?;
        images.0.insert(image.name.to_owned(), recipe.key.clone());
        let reference = images.reference(image.name);
        let archive = archive_path(cache, &images, image.name);
        if archive.exists() {
            continue;
        }
        base.provide(cache, steps)?;
        steps.run(&format!("image {reference}"), || {
            recipe.build(cache, &base, &reference)
        })?;
        write_archive(cache, &images, image.name)?;
        checks::size(&Archive::open(archive)?, &reference, steps)?;
    }
    prune(cache, &images, &base)?;
    fs::write(cache.path("images/current.json"), serde_json::to_vec(&images.0)?)?;
    Ok(images)
}

/// Loads the images that a node does not have yet.
fn load(cache: &Cache, steps: &Steps, cluster: &Cluster, images: &Images) -> Result<()> {
    for node in 1..=cluster.nodes() {
        let present = output(
            cluster
                .node(node, "ctr")?
                .args(["-n", "k8s.io", "images", "ls", "-q"]),
        )?;
        for image in &IMAGES {
            let name = image.name;
            let reference = images.reference(name);
            if present.lines().any(|line| line == reference) {
                continue;
            }
            steps.run(&format!("loading {reference} into node{node}"), || {
                let archive = archive_path(cache, images, name);
                output(
                    cluster
                        .node(node, "ctr")?
                        .args(["-n", "k8s.io", "images", "import", "--local"])
                        .arg(&archive),
                )
            })?;
        }
        let (name, other_name) = (images.reference("server"), images.server_again());
        if !present.lines().any(|line| line == other_name) {
            output(cluster.node(node, "ctr")?.args([
                "-n",
                "k8s.io",
                "images",
                "tag",
                "--local",
                &name,
                &other_name,
            ]))?;
        }
    }
    Ok(())
}

fn write_archive(cache: &Cache, images: &Images, name: &str) -> Result<()> {
    let reference = images.reference(name);
    cache
        .file(&archive_name(images, name), |file| {
            buildah::push(cache, &reference, file, &reference)
        })
        .map(drop)
}

/// Removes images and archives of earlier contents.
fn prune(cache: &Cache, images: &Images, base: &Base) -> Result<()> {
    let mut current: Vec<String> = IMAGES.iter().map(|image| images.reference(image.name)).collect();
    current.push(base.reference.clone());
    for image in buildah::list(cache)? {
        if image.starts_with("localhost/wsc-") && !current.contains(&image) {
            buildah::remove(cache, &image)?;
        }
    }
    for entry in fs::read_dir(cache.path("images"))?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let ours = |image: &Image| file.starts_with(&format!("{}-", image.name));
        let kept = |image: &Image| archive_path(cache, images, image.name) == entry.path();
        if IMAGES.iter().any(ours) && !IMAGES.iter().any(kept) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes archives that others can load or push.
fn export(cache: &Cache, steps: &Steps, images: &Images, folder: &Path) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let revision = [labels::of_revision()?];
    for image in &IMAGES {
        let name = image.name;
        let file = folder.join(format!("{name}.tar"));
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let tag = format!("ghcr.io/websocket-operator/wsc-{name}:{version}");
        steps.run(&format!("exporting {}", file.display()), || {
            buildah::relabel(cache, &images.reference(name), &tag, &revision)?;
            buildah::push(cache, &tag, &file, &tag)?;
            buildah::remove(cache, &tag)
        })?;
    }
    let folder = folder.display();
    println!("load them   docker load -i {folder}/server.tar");
    println!("            kind load image-archive {folder}/server.tar");
    println!("            ctr -n k8s.io images import {folder}/server.tar");
    println!(
        "push them   skopeo copy docker-archive:{folder}/server.tar docker://registry.example.org/websocket-operator/wsc-server:{version}"
    );
    println!("            and the same for operator, proxy and redis");
    Ok(())
}
