//! OCI labels: where an image is from and what is in it.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::Result;

use super::image::Image;
use crate::debian::{self, Package};
use crate::process::output;
use crate::repository;

/// A label and its value.
pub(super) type Label = (&'static str, String);

pub(super) const REVISION: &str = "org.opencontainers.image.revision";
pub(super) const VERSION: &str = "org.opencontainers.image.version";
pub(super) const SOURCE: &str = "org.opencontainers.image.source";
pub(super) const LICENSES: &str = "org.opencontainers.image.licenses";
pub(super) const TITLE: &str = "org.opencontainers.image.title";
pub(super) const DESCRIPTION: &str = "org.opencontainers.image.description";

/// Debian's packages with a file in the image: `haproxy=3.0.11-1+deb13u5 libc6=2.41-12`.
pub(super) const PACKAGES: &str = "io.websocket-operator.debian-packages";

/// Of glibc, libgcc and the certificate authorities, which every image holds.
const BASE_LICENSES: &str = "LGPL-2.1-or-later AND GPL-3.0-or-later WITH GCC-exception-3.1 AND MPL-2.0";

/// The labels that belong to the content: another value is another image.
pub(super) fn of_content(image: &Image, packages: &BTreeSet<Package>) -> Vec<Label> {
    vec![
        (TITLE, format!("wsc-{}", image.name)),
        (DESCRIPTION, image.description.to_owned()),
        (LICENSES, format!("{} AND {BASE_LICENSES}", image.licenses)),
        (SOURCE, env!("CARGO_PKG_REPOSITORY").to_owned()),
        (VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        (PACKAGES, debian::words(packages)),
    ]
}

/// The commit of the checkout. It names no image: the same content is the same image in every
/// commit, and is labelled with the first that built it here. An exported image gets the current
/// one.
pub(super) fn of_revision() -> Result<Label> {
    let git = |args: &[&str]| output(Command::new("git").current_dir(repository::root()).args(args));
    let commit = git(&["rev-parse", "HEAD"])?;
    let changes = git(&["status", "--porcelain"])?;
    let dirty = if changes.is_empty() { "" } else { "-dirty" };
    Ok((REVISION, format!("{}{dirty}", commit.trim())))
}
