//! What the machine has to have: root, and a few of Debian's packages.

use std::process::Command;

use anyhow::{Result, bail};

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

/// Lint and the unit tests run elsewhere too; all else stands on namespaces, epoll, /proc and Debian's packages.
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
    // dpkg-query fails when it does not know one of the names; what it prints for the others is good.
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

/// Go's version, or what to do about it.
pub fn go_version() -> Result<String> {
    output(Command::new("go").arg("version"))
        .map(|version| version.trim().to_owned())
        .map_err(|err| {
            anyhow::anyhow!(
                "Go 1.26 or newer is needed to build the local Kubernetes (https://go.dev/dl): {err}"
            )
        })
}
