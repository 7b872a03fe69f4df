//! What is promised of every image, looked up in the image itself: its programs, its user, its
//! labels, its size.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::archive::{Archive, Entry};
use super::image::{IMAGES, Image, Images, archive_path};
use super::labels;
use crate::cache::Cache;
use crate::debian;
use crate::steps::Steps;

/// Compressed: an image is pulled by every node of every user.
const MAX_COMPRESSED_BYTES: u64 = 15_000_000;

/// Where the packages of an image describe themselves.
const STATUS: &str = "var/lib/dpkg/status.d/";

/// What docs/contracts.md promises.
struct Promise {
    /// All programs, so that no shell, no package manager and no interpreter is among them.
    programs: &'static [&'static str],
    user: &'static str,
    stop_signal: &'static str,
}

fn promise(image: &str) -> Promise {
    let (programs, user, stop_signal): (&[&str], _, _) = match image {
        "operator" => (&["usr/bin/wsc-operator"], "65532:65532", ""),
        // HAProxy lets its clients finish on SIGUSR1; SIGTERM would cut them off.
        "proxy" => (
            &["usr/bin/wsc-proxy-agent", "usr/sbin/haproxy"],
            "99:99",
            "SIGUSR1",
        ),
        "server" => (&["usr/bin/wsc-server"], "65532:65532", ""),
        "redis" => (&["usr/bin/redis-cli", "usr/bin/redis-server"], "999:999", ""),
        _ => (&[], "", ""),
    };
    Promise {
        programs,
        user,
        stop_signal,
    }
}

/// The name and the outcome of each check.
pub fn run(cache: &Cache, images: &Images) -> Vec<(String, Result<()>)> {
    let check = |image: &Image| {
        let archive = Archive::open(archive_path(cache, images, image.name));
        let outcome = archive.and_then(|archive| check(image.name, &archive));
        (format!("image {}", image.name), outcome)
    };
    IMAGES.iter().map(check).collect()
}

fn check(name: &str, archive: &Archive) -> Result<()> {
    let promise = promise(name);
    let entries = archive.entries()?;
    programs(&entries, promise.programs)?;
    packages(&entries, archive.label(labels::PACKAGES))?;
    ensure!(archive.user() == promise.user, "user {:?}", archive.user());
    let stop_signal = archive.stop_signal();
    ensure!(stop_signal == promise.stop_signal, "stop signal {stop_signal:?}");
    for label in [
        labels::TITLE,
        labels::DESCRIPTION,
        labels::LICENSES,
        labels::SOURCE,
        labels::VERSION,
    ] {
        ensure!(!archive.label(label).is_empty(), "no label {label}");
    }
    revision(archive.label(labels::REVISION))?;
    let bytes = archive.compressed_bytes()?;
    ensure!(
        bytes <= MAX_COMPRESSED_BYTES,
        "{bytes} bytes compressed, more than {MAX_COMPRESSED_BYTES}"
    );
    Ok(())
}

/// Prints the size of a new image.
pub(super) fn size(archive: &Archive, reference: &str, steps: &Steps) -> Result<()> {
    let bytes = archive.compressed_bytes()?;
    let (whole, tenths) = (bytes / 1_000_000, bytes / 100_000 % 10);
    steps.note(&format!("{reference}: {whole}.{tenths} MB compressed"));
    Ok(())
}

/// Exactly the promised programs, beside libraries.
fn programs(entries: &[Entry], promised: &[&str]) -> Result<()> {
    let architecture = debian::architecture();
    let is_library = |entry: &Entry| {
        entry.path == architecture.linker
            || entry.path.starts_with(&format!("{}/lib", architecture.libraries))
    };
    let programs: BTreeSet<&str> = entries
        .iter()
        .filter(|entry| entry.is_program() && !is_library(entry))
        .map(|entry| entry.path.as_str())
        .collect();
    let promised: BTreeSet<&str> = promised.iter().copied().collect();
    ensure!(programs == promised, "its programs are {programs:?}");
    let changing = entries.iter().find(|entry| entry.changes_user());
    ensure!(changing.is_none(), "it changes the user: {changing:?}");
    Ok(())
}

/// Scanners find the packages that the label lists.
fn packages(entries: &[Entry], label: &str) -> Result<()> {
    let labelled = debian::parse_words(label)?;
    let labelled: BTreeSet<&str> = labelled.iter().map(|package| package.name.as_str()).collect();
    let described: BTreeSet<&str> = entries
        .iter()
        .filter_map(|entry| entry.path.strip_prefix(STATUS))
        .collect();
    ensure!(
        described == labelled,
        "its packages are {described:?}, its label has {labelled:?}"
    );
    Ok(())
}

/// `revision` is the hash of a commit, perhaps with changes on top.
fn revision(label: &str) -> Result<()> {
    let hash = label.strip_suffix("-dirty").unwrap_or(label);
    let is_hash = hash.len() >= 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(is_hash, "revision {label:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, u32)]) -> Vec<Entry> {
        let entry = |(path, mode): &(&str, u32)| Entry {
            mode: *mode,
            path: (*path).to_owned(),
        };
        list.iter().map(entry).collect()
    }

    #[test]
    fn only_promised_programs_are_accepted() {
        let library = format!("{}/libssl.so.3", debian::architecture().libraries);
        let (server, cli) = (("usr/bin/redis-server", 0o755), ("usr/bin/redis-cli", 0o755));
        let promised = promise("redis").programs;
        let check = |list: &[(&str, u32)]| programs(&files(list), promised);
        assert!(check(&[server, cli, (&library, 0o755), ("etc/passwd", 0o644)]).is_ok());
        assert!(check(&[server]).is_err(), "redis-cli is promised");
        for other in [
            "usr/bin/sh",
            "usr/bin/apt-get",
            "usr/bin/perl",
            "usr/local/lib/tool",
        ] {
            assert!(check(&[server, cli, (other, 0o755)]).is_err(), "{other}");
        }
        assert!(check(&[("usr/bin/redis-server", 0o4755), cli]).is_err());
    }

    #[test]
    fn the_label_lists_all_packages() {
        let entries = files(&[("var/lib/dpkg/status.d/libc6", 0o644), ("etc/passwd", 0o644)]);
        assert!(packages(&entries, "libc6=2.41-12").is_ok());
        assert!(packages(&entries, "libc6=2.41-12 haproxy=3.0.11-1").is_err());
        assert!(packages(&entries, "haproxy=3.0.11-1").is_err());
        assert!(packages(&entries, "").is_err());
    }

    #[test]
    fn a_revision_is_a_commit() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert!(revision(commit).is_ok() && revision(&format!("{commit}-dirty")).is_ok());
        for wrong in ["", "main", "-dirty", &commit[1..], &commit.replace('a', "x")] {
            assert!(revision(wrong).is_err(), "{wrong}");
        }
    }
}
