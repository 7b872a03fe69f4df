//! Builds Kubernetes, etcd, containerd, CNI, CoreDNS and kwok out of the Go module in
//! `tests/environment/kubernetes`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{Cache, Key};
use crate::go::Build;
use crate::steps::Steps;
use crate::{machine, repository};

pub(crate) const MODULE: &str = "tests/environment/kubernetes";

/// Programs that are one binary and know by their name which they are.
const APPLETS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
];

/// The tools of `go.mod`, but Helm, which is built alone.
const PACKAGES: [&str; 10] = [
    "./allinone",
    "./coredns",
    "github.com/containerd/containerd/v2/cmd/containerd",
    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    "github.com/containerd/containerd/v2/cmd/ctr",
    "github.com/containernetworking/plugins/plugins/ipam/host-local",
    "github.com/containernetworking/plugins/plugins/main/bridge",
    "github.com/containernetworking/plugins/plugins/main/loopback",
    "github.com/containernetworking/plugins/plugins/meta/portmap",
    "sigs.k8s.io/kwok/cmd/kwok",
];

/// What containerd can do without: file systems that the machine may have no headers for.
pub(crate) const TAGS: &str = "-tags=no_btrfs,no_devmapper,no_zfs";
pub(crate) const COMPILER: &str = "-gcflags=all=-dwarf=false";

/// The built programs.
pub struct Programs {
    pub(crate) folder: PathBuf,
    /// Names the content.
    pub(crate) key: String,
}

impl Programs {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The programs of this checkout; built when no run on this machine has built them.
pub fn build(cache: &Cache, steps: &Steps) -> Result<Programs> {
    let (key, name) = (key()?, name()?);
    if cache.path(&name).exists() {
        return Ok(Programs {
            folder: cache.path(&name),
            key,
        });
    }
    let version = kubernetes_version()?;
    let step = format!("go build: Kubernetes {version}, etcd, containerd");
    let folder = steps.run_counted(&step, |progress| {
        cache.folder(&name, |folder| {
            let minor = version.split('.').nth(1).unwrap_or_default();
            let build = Build {
                module: &repository::path(MODULE),
                flags: &["-trimpath", COMPILER, TAGS, &link_flags(&version, minor)],
                packages: &PACKAGES,
                to: folder,
                log: &cache.path("go-build.log"),
            };
            build.run(progress)?;
            link_applets(folder)
        })
    })?;
    Ok(Programs { folder, key })
}

/// Without symbols, and with the version that Kubernetes reports.
fn link_flags(version: &str, minor: &str) -> String {
    format!(
        "-ldflags=-s -w -X k8s.io/component-base/version.gitVersion={version} \
         -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor={minor} \
         -X k8s.io/client-go/pkg/version.gitVersion={version}"
    )
}

fn link_applets(folder: &Path) -> Result<()> {
    for applet in APPLETS {
        symlink("allinone", folder.join(applet)).with_context(|| format!("linking {applet}"))?;
    }
    Ok(())
}

/// The folder in the cache.
pub(crate) fn name() -> Result<String> {
    Ok(format!("kubernetes-{}", key()?))
}

fn key() -> Result<String> {
    let module = repository::path(MODULE);
    let mut key = Key::default()
        .text(&machine::go_version()?)
        .text(TAGS.trim_start_matches("-tags="));
    for file in ["go.mod", "go.sum", "allinone/main.go", "coredns/main.go"] {
        key = key.file(&module.join(file))?;
    }
    Ok(key.finish())
}

/// `v1.37.2`, from go.mod.
pub fn kubernetes_version() -> Result<String> {
    let path = repository::path(MODULE).join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .map(|version| version.trim().to_owned())
        .with_context(|| format!("{} does not require k8s.io/kubernetes", path.display()))
}
