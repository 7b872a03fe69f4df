//! What the machine has to have: root, and a few of Debian's packages.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{logged, output};
use crate::steps::Steps;

/// Debian's packages that the cluster and the images stand on, and why.
const PACKAGES: [&str; 14] = [
    "runc",                   // runs the containers
    "iptables",               // the CNI plugins and kubelet call it
    "nftables",               // kube-proxy writes Services with it
    "iproute2",               // bridge, veths, routes
    "conntrack",              // kube-proxy clears stale connections with it
    "procps",                 // sysctl
    "util-linux",             // unshare, nsenter
    "openssl",                // certificates
    "buildah",                // builds the images
    "debian-archive-keyring", // checks the signatures of Debian 13
    "ca-certificates",        // Go's modules, Rust's crates
    "patchelf",               // makes Debian 13's HAProxy and Redis run here
    "gcc",                    // the pause container
    "libc6-dev",              // the same
];

/// Is this process root?
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Lint and the unit tests run elsewhere too; the rest requires namespaces, epoll, /proc and
/// Debian's packages.
pub fn need_linux(what: &str) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("{what} needs Linux: run it on Debian 12");
    }
    Ok(())
}

/// Namespaces, mounts and cgroups are root's.
pub fn need_root(what: &str) -> Result<()> {
    need_linux(what)?;
    if !is_root() {
        bail!("{what} needs root: run it by `sudo -E env PATH=\"$PATH\" cargo xtask …`");
    }
    Ok(())
}

/// Installs the packages that are missing, or names them when this process may not.
pub fn packages(steps: &Steps) -> Result<()> {
    need_linux("this command")?;
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        bail!(
            "packages are missing: run `apt-get install {}` as root",
            missing.join(" ")
        );
    }
    steps.run(&format!("apt-get install {}", missing.join(" ")), || {
        let log = std::env::temp_dir().join("wsc-apt.log");
        logged(Command::new("apt-get").args(["update", "-q"]), &log)?;
        logged(
            Command::new("apt-get")
                .args(["install", "-yq", "--no-install-recommends"])
                .args(&missing)
                .env("DEBIAN_FRONTEND", "noninteractive"),
            &log,
        )
    })
}

pub(crate) fn missing() -> Vec<&'static str> {
    // dpkg-query fails when it does not know one of the names; what it prints for the others is
    // good.
    let known = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(PACKAGES)
        .output()
        .map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
        .unwrap_or_default();
    PACKAGES
        .into_iter()
        .filter(|name| !known.lines().any(|line| line == format!("{name} installed")))
        .collect()
}

/// The oldest minor version of Go 1 that builds the Go modules here.
const GO_MINOR: u32 = 26;

/// Go's version, or what to do about it.
pub(crate) fn go_version() -> Result<String> {
    let needed =
        format!("Go 1.{GO_MINOR} or newer is needed for Helm, Kubernetes and gofmt (https://go.dev/dl)");
    let version = output(Command::new("go").arg("version")).context(needed.clone())?;
    let version = version.trim();
    if go_minor(version).is_some_and(|minor| minor < GO_MINOR) {
        bail!("{needed}; found `{version}`");
    }
    Ok(version.to_owned())
}

/// 26 in `go version go1.26.8 linux/amd64`; none for a development version without a number.
fn go_minor(version: &str) -> Option<u32> {
    let (_, minor) = version.split_once("go1.")?;
    let digits = minor.split(|letter: char| !letter.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version_of_go_is_read() {
        for (version, minor) in [
            ("go version go1.26.8 linux/amd64", Some(26)),
            ("go version go1.9 darwin/arm64", Some(9)),
            ("go version go1.27rc1 linux/amd64", Some(27)),
            ("go version devel go1.28-3f2a Thu linux/amd64", Some(28)),
            ("go version weekly", None),
        ] {
            assert_eq!(go_minor(version), minor, "{version}");
        }
    }
}
