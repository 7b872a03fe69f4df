//! Without agents, operator and API server HAProxy keeps serving.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use rustix::process::Signal;
use serde_json::Value;
use wsc_contract::labels::Component;
use wsc_contract::ports;
use wsc_testing::client::EndKind;
use wsc_testing::cluster::processes::{self, Process};
use wsc_testing::cluster::{Environment, eventually};

use crate::environment::{self, PATIENCE, uid, with_exclusive_env};

const SERVERS: usize = 2;
/// A kubelet updates a mounted `ConfigMap` within its sync period of one minute and a bit.
const MOUNTED: Duration = Duration::from_mins(3);

/// A stopped program of the control plane: requests to it time out.
struct Frozen(Process);

impl Frozen {
    fn new(program: &str) -> Result<Self> {
        let process = processes::below(Environment::process_1()?, program)?;
        processes::signal(&process, Signal::STOP)?;
        Ok(Self(process))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Without the process the cluster is over, and every later test fails.
        let _ = processes::signal(&self.0, Signal::CONT);
    }
}

/// The process of a container of the pod, once there is one.
async fn process(pod: &Pod, program: &str) -> Result<Process> {
    eventually(PATIENCE, program, || async {
        let mut running = processes::of_pod(uid(pod)).into_iter();
        Ok(running.find(|process| process.name.starts_with(program)))
    })
    .await
}

/// A file as a process of the pod sees it. Fails when that process ends meanwhile, as one that was
/// killed does.
async fn read(pod: &Pod, program: &str, file: &str) -> Result<String> {
    let process = process(pod, program).await?;
    let path = format!("/proc/{}/root{file}", process.pid);
    fs::read_to_string(&path).with_context(|| path)
}

/// All servers are in the file that a proxy starts from.
async fn mounted(pod: &Pod) -> Result<()> {
    eventually(MOUNTED, "the mounted file names all servers", || async {
        let file = read(pod, "wsc-proxy-agent", "/etc/wsc-haproxy/backends.json").await?;
        let backends: Value = serde_json::from_str(&file)?;
        let ready = |server: &&Value| server["state"] == "Ready";
        let servers = backends["servers"].as_array().into_iter().flatten();
        Ok((servers.filter(ready).count() == SERVERS).then_some(()))
    })
    .await
}

/// The pod's address by the hosts file that the kubelet wrote for it, since the API server is
/// stopped.
async fn address(pod: &Pod) -> Result<String> {
    let name = pod.metadata.name.as_deref().context("a pod has a name")?;
    let hosts = eventually(PATIENCE, "the hosts file", || async {
        read(pod, "haproxy", "/etc/hosts").await.map(Some)
    });
    let hosts = hosts.await?;
    let line = hosts
        .lines()
        .find(|line| line.split_whitespace().any(|word| word == name));
    let address = line.and_then(|line| line.split_whitespace().next());
    address
        .map(str::to_owned)
        .with_context(|| format!("no {name} in {hosts}"))
}

/// Where clients connect to this proxy itself.
fn endpoint_at(address: &str) -> String {
    format!("ws://{address}:{}/ws", ports::PROXY.number)
}

/// The API server is stopped; operator and agents are killed and reach no API server when they are
/// started again; one proxy pod loses all its processes with its sandbox, and starts from its
/// mounted file. (Its Service does not get its new address meanwhile.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_serves_without_operator_and_agent() -> Result<()> {
    with_exclusive_env("away", async |env| {
        let spec = format!("scaling: {{minReplicas: {SERVERS}, maxReplicas: {SERVERS}}}");
        env.apply("chat", &spec).await?;
        let endpoint = env.ready("chat").await?;
        env.both_proxies("chat").await?;
        let mut clients = env.clients("chat", &endpoint);
        env.connect_through_both("chat", &mut clients).await?;
        let proxies: Vec<Pod> = env.pods("chat", Component::Proxy).await?.into_values().collect();
        let [lost, kept] = &*proxies else {
            anyhow::bail!("{} proxies instead of 2", proxies.len())
        };
        for proxy in [lost, kept] {
            mounted(proxy).await?;
        }
        let lost_name = lost.metadata.name.clone().context("a pod has a name")?;
        let others = env.via_others("chat", &lost_name).await?;
        ensure!(others > 0, "all clients came through {lost_name}");
        let operator = env.operator().await?;

        let api_server = Frozen::new("kube-apiserver")?;
        let asked = env.kubectl(&["get", "pods", "--request-timeout=1s"]).await;
        ensure!(asked.is_err(), "the API server answers");
        processes::kill(&process(&operator, "wsc-operator").await?)?;
        processes::kill(&process(kept, "wsc-proxy-agent").await?)?;
        for process in processes::of_pod_and_sandbox(uid(lost)) {
            // One that ended with another is gone already.
            let _ = processes::kill(&process);
        }
        let lost_tunnels = clients.held().len() - usize::try_from(others)?;
        eventually(PATIENCE, "only the tunnels of the lost proxy end", || async {
            Ok((clients.ended(EndKind::Unasked) == lost_tunnels).then_some(()))
        })
        .await?;
        clients.release_ended();
        clients.broadcast(0).await?;
        for address in [environment::address(kept)?, address(lost).await?] {
            clients.connect_to(&endpoint_at(&address), 5).await?;
        }
        let newest = clients.held().len() - 1;
        clients.broadcast(newest).await?;
        drop(api_server);

        eventually(PATIENCE, "both agents are in sync", || async {
            let agents = env.agents("chat").await?;
            Ok((agents.len() == 2 && agents.iter().all(|agent| agent["synced"] == true)).then_some(()))
        })
        .await?;
        env.ready("chat").await?;
        clients.broadcast(newest).await?;
        clients.verify_unmoved(lost_tunnels)
    })
    .await
}
