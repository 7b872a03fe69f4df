//! What the running containers show of their images; `cargo xtask test e2e image` also looks into
//! the images themselves.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use wsc_contract::labels::Component;
use wsc_testing::cluster::processes::{self, Process};

use crate::environment::{uid, with_env};

/// Where a shell or a package manager would be.
const FOLDERS: [&str; 6] = [
    "bin",
    "sbin",
    "usr/bin",
    "usr/sbin",
    "usr/local/bin",
    "usr/local/sbin",
];
const TOOLS: [&str; 8] = ["sh", "dash", "bash", "busybox", "perl", "apt", "apt-get", "dpkg"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_are_unprivileged_readonly_and_shellless() -> Result<()> {
    with_env("images", async |env| {
        env.apply("chat", "scaling: {minReplicas: 1, maxReplicas: 1}")
            .await?;
        env.ready("chat").await?;
        check(uid(&env.operator().await?), "65532")?;
        for (component, user) in [
            (Component::Server, "65532"),
            (Component::Proxy, "99"),
            (Component::Redis, "999"),
        ] {
            for pod in env.pods("chat", component).await?.values() {
                check(uid(pod), user)?;
            }
        }
        Ok(())
    })
    .await
}

fn check(pod: &str, user: &str) -> Result<()> {
    let running = processes::of_pod(pod);
    ensure!(!running.is_empty(), "pod {pod} has no process");
    for process in &running {
        let confined = is_confined(process, user);
        // A probe may end while it is looked at.
        if confined.is_err() && processes::of_pod(pod).contains(process) {
            return confined.with_context(|| format!("process {process:?}"));
        }
    }
    Ok(())
}

fn is_confined(process: &Process, user: &str) -> Result<()> {
    let proc = Path::new("/proc").join(process.pid.to_string());
    let status = fs::read_to_string(proc.join("status"))?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let ids: Vec<&str> = ids.context("no Uid in status")?.split_whitespace().collect();
    ensure!(ids == [user; 4], "its users are {ids:?}, not {user}");
    let mounts = fs::read_to_string(proc.join("mountinfo"))?;
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"));
    let options = root
        .and_then(|line| line.split(' ').nth(5))
        .context("no root mount")?;
    ensure!(
        options.split(',').any(|option| option == "ro"),
        "its root is {options}"
    );
    for folder in FOLDERS {
        for tool in TOOLS {
            let path = proc.join("root").join(folder).join(tool);
            ensure!(
                fs::symlink_metadata(&path).is_err(),
                "{} is there",
                path.display()
            );
        }
    }
    Ok(())
}
