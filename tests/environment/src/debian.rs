//! Debian 13 on any machine: its root file system as a base of images, and a small base that holds only what a Rust program needs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{Cache, Key};
use crate::process::{logged, output};
use crate::repository;
use crate::steps::Steps;

/// Debian 13: the first with HAProxy 3 and Redis 8.
pub(crate) const SUITE: &str = "trixie";

/// Needed by every program that is linked to glibc and unwinds.
const LIBRARIES: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libresolv.so.2"];

/// The folder of libraries under /usr/lib, and the dynamic linker's path.
fn architecture() -> (&'static str, &'static str) {
    if cfg!(target_arch = "aarch64") {
        ("aarch64-linux-gnu", "usr/lib/ld-linux-aarch64.so.1")
    } else {
        ("x86_64-linux-gnu", "usr/lib64/ld-linux-x86-64.so.2")
    }
}

/// buildah with a store of its own in the cache. It needs no daemon and no registry.
pub(crate) fn buildah(cache: &Cache) -> Command {
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
pub(crate) fn has_image(cache: &Cache, image: &str) -> bool {
    output(buildah(cache).args(["inspect", "--type", "image", image])).is_ok()
}

/// Builds an image from a Dockerfile and a folder, with layers kept for the next build.
pub(crate) fn build_image(
    cache: &Cache,
    image: &str,
    dockerfile: &Path,
    context: &Path,
    base: Option<&str>,
) -> Result<()> {
    let mut command = buildah(cache);
    command
        .args(["bud", "--layers", "--quiet", "--tag", image, "--file"])
        .arg(dockerfile);
    if let Some(base) = base {
        command.arg("--build-arg").arg(format!("BASE={base}"));
    }
    let log = cache.path(format!(
        "{}.log",
        dockerfile.file_stem().unwrap_or_default().to_string_lossy()
    ));
    logged(command.arg(context), &log)
}

/// The minimal Debian 13 as a tar file.
fn root_file_system(cache: &Cache, steps: &Steps) -> Result<PathBuf> {
    let name = format!("debian-{SUITE}.tar");
    if cache.path(&name).exists() {
        return Ok(cache.path(&name));
    }
    steps.run("Debian 13 root file system", || {
        cache.file(&name, |file| {
            let mut mmdebstrap = Command::new("mmdebstrap");
            mmdebstrap
                .args(["--variant=minbase", "--include=ca-certificates", SUITE])
                .arg(file);
            logged(&mut mmdebstrap, &cache.path("mmdebstrap.log"))
        })
    })
}

/// The image of Debian 13, for HAProxy and Redis.
pub(crate) fn debian_image(cache: &Cache, steps: &Steps) -> Result<String> {
    let dockerfile = repository::path("images/debian.Dockerfile");
    let image = format!(
        "localhost/wsc-debian:{}",
        Key::default().text(SUITE).file(&dockerfile)?.finish()
    );
    if !has_image(cache, &image) {
        let tar = root_file_system(cache, steps)?;
        steps.run("image of Debian 13", || {
            let context = scratch(cache, "debian")?;
            fs::hard_link(&tar, context.join("debian.tar"))?;
            build_image(cache, &image, &dockerfile, &context, None)
        })?;
    }
    Ok(image)
}

/// The image that holds glibc, libgcc and the CA certificates, for our own programs.
pub(crate) fn runtime_image(cache: &Cache, steps: &Steps) -> Result<String> {
    let dockerfile = repository::path("images/runtime.Dockerfile");
    let key = Key::default()
        .text(SUITE)
        .text(&LIBRARIES.join(" "))
        .file(&dockerfile)?
        .finish();
    let image = format!("localhost/wsc-runtime:{key}");
    if !has_image(cache, &image) {
        let tar = root_file_system(cache, steps)?;
        steps.run("image with glibc only", || {
            let context = scratch(cache, "runtime")?;
            runtime_root(&tar, &context)?;
            build_image(cache, &image, &dockerfile, &context, None)
        })?;
    }
    Ok(image)
}

/// Fills `context/root` with the few files out of Debian's.
fn runtime_root(tar: &Path, context: &Path) -> Result<()> {
    let all = context.join("all");
    let root = context.join("root");
    fs::create_dir_all(&all)?;
    output(Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(&all).args([
        "--exclude=./dev",
        "./etc",
        "./usr/lib",
        "./usr/lib64",
    ]))?;
    let (libraries, linker) = architecture();
    let folder = format!("usr/lib/{libraries}");
    let certificates = "etc/ssl/certs/ca-certificates.crt";
    for path in LIBRARIES
        .map(|name| format!("{folder}/{name}"))
        .iter()
        .map(String::as_str)
        .chain([certificates, linker])
    {
        let to = root.join(path);
        fs::create_dir_all(to.parent().unwrap_or(&root))?;
        // Through links: the image holds the file under the name that programs ask for.
        let from = fs::canonicalize(all.join(path)).with_context(|| format!("Debian's {path}"))?;
        fs::copy(&from, &to).with_context(|| format!("copying {path}"))?;
    }
    symlink("usr/lib", root.join("lib"))?;
    if linker.starts_with("usr/lib64/") {
        symlink("usr/lib64", root.join("lib64"))?;
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/:/sbin/nologin\nwsc:x:65532:65532:wsc:/:/sbin/nologin\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nwsc:x:65532:\n")?;
    fs::write(root.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
    fs::remove_dir_all(&all)?;
    Ok(())
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
