//! Builds Kubernetes, etcd, containerd, CNI, CoreDNS, Helm and kwok out of the Go module in `tests/environment/kubernetes`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{Cache, Key};
use crate::process::logged;
use crate::steps::Steps;
use crate::{machine, repository};

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

/// What containerd can do without: file systems that the machine may have no headers for.
const TAGS: &str = "no_btrfs,no_devmapper,no_zfs";

/// The built programs.
pub struct Programs {
    pub folder: PathBuf,
    /// Names the content.
    pub key: String,
}

impl Programs {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The programs of this checkout; built when no run on this machine has built them.
pub fn build(cache: &Cache, steps: &Steps) -> Result<Programs> {
    let module = repository::path("tests/environment/kubernetes");
    let version = kubernetes_version()?;
    let mut key = Key::default().text(&machine::go_version()?).text(TAGS);
    for file in ["go.mod", "go.sum", "allinone/main.go", "coredns/main.go"] {
        key = key.file(&module.join(file))?;
    }
    let key = key.finish();
    let name = format!("kubernetes-{key}");
    if cache.path(&name).exists() {
        return Ok(Programs {
            folder: cache.path(&name),
            key,
        });
    }
    let folder = steps.run(&format!("go build: Kubernetes {version}, etcd, containerd, Helm"), || {
        cache.folder(&name, |folder| {
            let flags = format!(
                "-s -w -X k8s.io/component-base/version.gitVersion={version} -X k8s.io/component-base/version.gitMajor=1 \
                 -X k8s.io/component-base/version.gitMinor={} -X k8s.io/client-go/pkg/version.gitVersion={version}",
                version.split('.').nth(1).unwrap_or_default()
            );
            let mut go = Command::new("go");
            go.current_dir(&module).args(["build", "-trimpath", "-gcflags=all=-dwarf=false", "-tags", TAGS, "-ldflags", &flags, "-o"]);
            go.arg(folder).args(["./allinone", "./coredns", "tool"]);
            // GOGC: the compiler collects its garbage less often, which is faster where there is memory.
            go.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly").env("GOGC", "400");
            logged(&mut go, &cache.path("go-build.log"))?;
            for applet in APPLETS {
                symlink("allinone", folder.join(applet)).with_context(|| format!("linking {applet}"))?;
            }
            Ok(())
        })
    })?;
    Ok(Programs { folder, key })
}

/// `v1.37.2`, from go.mod.
pub fn kubernetes_version() -> Result<String> {
    let text = fs::read_to_string(repository::path("tests/environment/kubernetes/go.mod"))
        .context("reading tests/environment/kubernetes/go.mod")?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "))
        .map(|version| version.trim().to_owned())
        .context("tests/environment/kubernetes/go.mod does not require k8s.io/kubernetes")
}
