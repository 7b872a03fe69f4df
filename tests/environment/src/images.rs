//! The shipped images: built from `images/*.Dockerfile`, loaded into the local Kubernetes, exported for others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, Key};
use crate::cluster::Cluster;
use crate::process::output;
use crate::steps::Steps;
use crate::{cargo, debian, machine, repository};

/// The images and the program of ours in each.
const IMAGES: [(&str, Option<&str>); 4] = [
    ("operator", Some("wsc-operator")),
    ("proxy", Some("wsc-proxy-agent")),
    ("server", Some("wsc-server")),
    ("redis", None),
];

/// Ours on glibc only; the others need Debian's package manager for what they hold.
const SMALL: [&str; 2] = ["operator", "server"];

/// A small image may have this many bytes, compressed: it is pulled by every node of every user.
const SMALL_MAX_BYTES: u64 = 15_000_000;

/// The version in the tags of exported images.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The current images by name: what their content is named by.
pub struct Images(BTreeMap<String, String>);

impl Images {
    /// `localhost/wsc-server:0123456789ab`.
    pub fn reference(&self, name: &str) -> String {
        format!(
            "localhost/wsc-{name}:{}",
            self.0.get(name).map_or("", String::as_str)
        )
    }
}

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

/// Builds what changed and loads it into the cluster. (Under one lock: another checkout removes what it does not know.)
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

/// Builds what changed. An image is named by its content, so a name never means two things.
fn build(cache: &Cache, steps: &Steps, programs: &cargo::Programs) -> Result<Images> {
    let mut images = Images(BTreeMap::new());
    for (name, program) in IMAGES {
        let dockerfile = repository::path(&format!("images/{name}.Dockerfile"));
        let program = program
            .map(|program| programs.path(program).map(|path| (program, path)))
            .transpose()?;
        let base = if SMALL.contains(&name) {
            debian::runtime_image(cache, steps)?
        } else {
            debian::debian_image(cache, steps)?
        };
        let mut key = Key::default().text(&base).file(&dockerfile)?;
        if let Some((_, path)) = program {
            key = key.file(path)?;
        }
        images.0.insert(name.to_owned(), key.finish());
        let reference = images.reference(name);
        if !archive(cache, &images, name).exists() {
            steps.run(&format!("image {reference}"), || {
                let context = debian::scratch(cache, name)?;
                if let Some((program, path)) = program {
                    fs::copy(path, context.join(program))?;
                }
                debian::build_image(cache, &reference, &dockerfile, &context, Some(&base))
            })?;
            write_archive(cache, &images, name)?;
            if SMALL.contains(&name) {
                check_size(&archive(cache, &images, name), &reference, steps)?;
            }
        }
    }
    prune(cache, &images)?;
    fs::write(cache.path("images/current.json"), serde_json::to_vec(&images.0)?)?;
    Ok(images)
}

/// The image of the server, built if it changed, as an archive.
pub fn server(cache: &Cache, steps: &Steps, programs: &cargo::Programs) -> Result<PathBuf> {
    let _lock = cache.lock()?;
    let images = build(cache, steps, programs)?;
    Ok(archive(cache, &images, "server"))
}

/// What the last build on this machine named the images.
pub(crate) fn last(cache: &Cache) -> Option<Images> {
    let text = fs::read(cache.path("images/current.json")).ok()?;
    serde_json::from_slice(&text).ok().map(Images)
}

/// Loads the images that a node does not have yet.
fn load(cache: &Cache, steps: &Steps, cluster: &Cluster, images: &Images) -> Result<()> {
    for node in 1..=cluster.nodes() {
        let present = output(
            cluster
                .node(node, "ctr")?
                .args(["-n", "k8s.io", "images", "ls", "-q"]),
        )?;
        for (name, _) in IMAGES {
            let reference = images.reference(name);
            if present.lines().any(|line| line == reference) {
                continue;
            }
            steps.run(&format!("loading {reference} into node{node}"), || {
                let archive = archive(cache, images, name);
                output(
                    cluster
                        .node(node, "ctr")?
                        .args(["-n", "k8s.io", "images", "import", "--local"])
                        .arg(&archive),
                )
            })?;
        }
    }
    Ok(())
}

/// The image of the pause container that every pod needs, as an archive.
pub(crate) fn pause(cache: &Cache, steps: &Steps) -> Result<PathBuf> {
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
            let context = debian::scratch(cache, "pause")?;
            output(
                Command::new("gcc")
                    .args(["-static", "-Os", "-s", "-o"])
                    .arg(context.join("pause"))
                    .arg(sources.join("pause.c")),
            )?;
            debian::build_image(
                cache,
                "localhost/pause:1",
                &sources.join("pause.Dockerfile"),
                &context,
                None,
            )?;
            push(cache, "localhost/pause:1", file, "localhost/pause:1")
        })
    })
}

fn archive(cache: &Cache, images: &Images, name: &str) -> PathBuf {
    cache.path(archive_name(images, name))
}

fn archive_name(images: &Images, name: &str) -> String {
    format!(
        "images/{name}-{}.tar",
        images.0.get(name).map_or("", String::as_str)
    )
}

fn write_archive(cache: &Cache, images: &Images, name: &str) -> Result<()> {
    let reference = images.reference(name);
    cache
        .file(&archive_name(images, name), |file| {
            push(cache, &reference, file, &reference)
        })
        .map(drop)
}

fn push(cache: &Cache, image: &str, file: &Path, tag: &str) -> Result<()> {
    output(
        debian::buildah(cache)
            .args(["push", "--quiet", image])
            .arg(format!("docker-archive:{}:{tag}", file.display())),
    )
    .map(drop)
}

/// Prints how large the image is when compressed, as a registry holds it, and refuses one that grew out of bounds.
fn check_size(archive: &Path, reference: &str, steps: &Steps) -> Result<()> {
    let mut gzip = Command::new("gzip")
        .args(["-c"])
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting gzip")?;
    let mut out = gzip.stdout.take().context("gzip has no output")?;
    let bytes = std::io::copy(&mut out, &mut std::io::sink())?;
    gzip.wait()?;
    steps.note(&format!(
        "{reference}: {}.{} MB compressed",
        bytes / 1_000_000,
        bytes / 100_000 % 10
    ));
    if bytes > SMALL_MAX_BYTES {
        bail!("{reference} has {bytes} bytes compressed, more than {SMALL_MAX_BYTES}");
    }
    Ok(())
}

/// Removes images and archives of earlier contents.
fn prune(cache: &Cache, images: &Images) -> Result<()> {
    let current: Vec<String> = IMAGES.iter().map(|(name, _)| images.reference(name)).collect();
    let listed =
        output(debian::buildah(cache).args(["images", "--noheading", "--format", "{{.Name}}:{{.Tag}}"]))?;
    for image in listed.lines() {
        let ours = IMAGES
            .iter()
            .any(|(name, _)| image.starts_with(&format!("localhost/wsc-{name}:")));
        if ours && !current.iter().any(|reference| reference == image) {
            output(debian::buildah(cache).args(["rmi", "--force", image]))?;
        }
    }
    for entry in fs::read_dir(cache.path("images"))?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let ours = IMAGES
            .iter()
            .any(|(name, _)| file.starts_with(&format!("{name}-")));
        if ours
            && !IMAGES
                .iter()
                .any(|(name, _)| archive(cache, images, name) == entry.path())
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes archives that others can load or push.
fn export(cache: &Cache, steps: &Steps, images: &Images, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for (name, _) in IMAGES {
        let file = folder.join(format!("{name}.tar"));
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let tag = format!("ghcr.io/websocket-operator/wsc-{name}:{VERSION}");
        steps.run(&format!("exporting {}", file.display()), || {
            push(cache, &images.reference(name), &file, &tag)
        })?;
    }
    let folder = folder.display();
    println!("load them   docker load -i {folder}/server.tar");
    println!("            kind load image-archive {folder}/server.tar");
    println!("            ctr -n k8s.io images import {folder}/server.tar");
    println!(
        "push them   skopeo copy docker-archive:{folder}/server.tar docker://registry.example.org/websocket-operator/wsc-server:{VERSION}"
    );
    println!("            and the same for operator, proxy and redis");
    Ok(())
}
