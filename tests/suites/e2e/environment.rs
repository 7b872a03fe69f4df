//! A namespace with an operator, and what users do there with kubectl and helm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{OnceCell, RwLock};
use tokio::time::sleep;
use wsc_api::v1alpha1::WebSocketCluster;
use wsc_contract::labels::{self, Component};
use wsc_contract::{names, paths, ports};
use wsc_testing::clients::{ClientPool, Recorder};
use wsc_testing::cluster::{Cluster, Images, Namespace, eventually, within};
use wsc_testing::http1;

/// Pods start within seconds; several tests share two cores.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
/// One call.
const CALL: Duration = Duration::from_secs(20);
/// Two proxies share clients evenly: this number on one of them is no accident.
const MOST_TO_MEET_BOTH: usize = 200;
/// The default name of the sticky cookie.
const COOKIE: &str = "wsc";
/// The field of the operator's image in the chart's values, and of those that it runs.
const IMAGE_VALUES: [&str; 4] = [
    "image",
    "operand.images.server",
    "operand.images.proxy",
    "operand.images.redis",
];

/// Tests share the cluster; one that breaks it has it alone.
static CLUSTER_LOCK: RwLock<()> = RwLock::const_new(());

/// The CRD is the cluster's: the first test of the process installs it.
static CRD: OnceCell<()> = OnceCell::const_new();

/// Runs a test in an environment of its own, and prints what is in it when the test fails.
pub(crate) async fn with_env(prefix: &str, test: impl AsyncFnOnce(&TestEnv) -> Result<()>) -> Result<()> {
    let _lock = CLUSTER_LOCK.read().await;
    run(prefix, test).await
}

/// The same while no other test runs.
pub(crate) async fn with_exclusive_env(
    prefix: &str,
    test: impl AsyncFnOnce(&TestEnv) -> Result<()>,
) -> Result<()> {
    let _lock = CLUSTER_LOCK.write().await;
    run(prefix, test).await
}

async fn run(prefix: &str, test: impl AsyncFnOnce(&TestEnv) -> Result<()>) -> Result<()> {
    let env = TestEnv::open(prefix).await?;
    let result = test(&env).await;
    if let Err(error) = &result {
        #[expect(
            clippy::print_stderr,
            reason = "the record of a failed test is part of its output"
        )]
        {
            eprintln!("{error:#}\n{}", env.describe());
        }
    }
    result
}

/// A namespace with an operator, and the clients of a test.
pub(crate) struct TestEnv {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: Namespace,
    recorders: Mutex<Vec<Arc<Recorder>>>,
}

impl TestEnv {
    /// A namespace with an operator.
    async fn open(prefix: &str) -> Result<Self> {
        let cluster = Cluster::connect().await?;
        CRD.get_or_try_init(|| install_crd(&cluster)).await?;
        let namespace = cluster.namespace(prefix).await?;
        let env = Self {
            cluster,
            namespace,
            recorders: Mutex::default(),
        };
        env.install_operator(&[]).await?;
        Ok(env)
    }

    pub(crate) fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Clients of the resource of this name, at its `status.endpoint`.
    pub(crate) fn clients(&self, name: &str, endpoint: &str) -> ClientPool {
        let recorder = Arc::new(Recorder::new(Instant::now(), name, COOKIE));
        self.recorders.lock().push(Arc::clone(&recorder));
        ClientPool::new(recorder, endpoint, "lobby")
    }

    /// The namespace, and what the clients observed.
    fn describe(&self) -> String {
        let recorders = self.recorders.lock();
        let clients: String = recorders.iter().map(|recorder| recorder.describe()).collect();
        format!("{}\n{clients}", self.namespace.describe())
    }

    /// `helm upgrade --install`, with more values as `key=value`.
    pub(crate) async fn install_operator(&self, more: &[&str]) -> Result<()> {
        let images = Images::read()?;
        let references = [&images.operator, &images.server, &images.proxy, &images.redis];
        let mut values: Vec<String> = IMAGE_VALUES
            .iter()
            .zip(references)
            .map(|(key, image)| format!("{key}={image}"))
            .collect();
        values.push("imagePullPolicy=Never".to_owned());
        values.push("crds.enabled=false".to_owned());
        values.push("resources.requests.cpu=10m".to_owned());
        values.push(format!("watchNamespaces={{{}}}", self.name()));
        values.extend(more.iter().map(|value| (*value).to_owned()));
        let chart = self.cluster.environment.chart.to_string_lossy().into_owned();
        let mut args = vec![
            "upgrade",
            "--install",
            self.name(),
            &chart,
            "--namespace",
            self.name(),
        ];
        args.extend(["--wait", "--timeout", "150s"]);
        args.extend(values.iter().flat_map(|value| ["--set", value.as_str()]));
        self.cluster
            .helm()
            .run(args)
            .await
            .context("installing the chart")?;
        Ok(())
    }

    pub(crate) async fn uninstall_operator(&self) -> Result<()> {
        let args = ["uninstall", self.name(), "--namespace", self.name(), "--wait"];
        self.cluster.helm().run(args).await?;
        Ok(())
    }

    /// `kubectl apply` of a resource with this name and spec, in YAML.
    pub(crate) async fn apply(&self, name: &str, spec: &str) -> Result<()> {
        let mut spec: Value = serde_yaml::from_str(spec).context("the spec of a test")?;
        make_small(&mut spec)?;
        let resource = serde_json::json!({
            "apiVersion": "websocket-operator.io/v1alpha1",
            "kind": "WebSocketCluster",
            "metadata": {"name": name},
            "spec": spec,
        });
        self.apply_text(&resource.to_string()).await
    }

    /// `kubectl apply -f -`.
    pub(crate) async fn apply_text(&self, text: &str) -> Result<()> {
        self.kubectl_with(text, &["apply", "-f", "-"]).await.map(drop)
    }

    pub(crate) async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_with("", args).await
    }

    async fn kubectl_with(&self, input: &str, args: &[&str]) -> Result<String> {
        let place = ["--namespace", self.name()];
        let all = place.iter().chain(args);
        self.cluster.kubectl().input(input).run(all).await
    }

    /// A merge patch of the spec, as JSON.
    pub(crate) async fn patch_spec(&self, name: &str, spec: &str) -> Result<()> {
        let patch = format!(r#"{{"spec":{spec}}}"#);
        self.kubectl(&["patch", "wsc", name, "--type=merge", "-p", &patch])
            .await
            .map(drop)
    }

    /// Waits for the condition Ready with kubectl, and returns where clients connect.
    pub(crate) async fn ready(&self, name: &str) -> Result<String> {
        let what = format!("wsc/{name}");
        self.kubectl(&["wait", "--for=condition=Ready", &what, "--timeout=150s"])
            .await?;
        let status = self.resource(name).await?.status.unwrap_or_default();
        status.endpoint.context("a Ready resource has an endpoint")
    }

    pub(crate) async fn resource(&self, name: &str) -> Result<WebSocketCluster> {
        let api: Api<WebSocketCluster> = self.api();
        within(CALL, "reading the resource", api.get(name)).await
    }

    /// Waits until the resource is as `wanted` says.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&WebSocketCluster) -> bool,
    ) -> Result<WebSocketCluster> {
        let look = || async {
            let resource = self.resource(name).await?;
            Ok(wanted(&resource).then_some(resource))
        };
        eventually(PATIENCE, what, look).await
    }

    /// The pods of one kind, by name.
    pub(crate) async fn pods(&self, name: &str, component: Component) -> Result<BTreeMap<String, Pod>> {
        let labels = format!(
            "{}={name},{}={}",
            labels::CLUSTER,
            labels::COMPONENT,
            component.as_str()
        );
        let api: Api<Pod> = self.api();
        let list = within(
            CALL,
            "listing pods",
            api.list(&ListParams::default().labels(&labels)),
        )
        .await?;
        let by_name = list
            .items
            .into_iter()
            .filter_map(|pod| Some((pod.metadata.name.clone()?, pod)));
        Ok(by_name.collect())
    }

    /// The pod of each value of the sticky cookie, as published for HAProxy.
    pub(crate) async fn pods_of_cookies(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let api: Api<ConfigMap> = self.api();
        let config = within(
            CALL,
            "reading the ConfigMap",
            api.get(&names::haproxy_config(name)),
        )
        .await?;
        let data = config.data.context("an empty ConfigMap")?;
        let backends: Value = serde_json::from_str(data.get("backends.json").context("no backends.json")?)?;
        let servers = backends["servers"].as_array().context("no servers")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(servers
            .iter()
            .map(|server| (text(&server["cookie"]), text(&server["name"])))
            .collect())
    }

    /// `/stats` of a server pod.
    pub(crate) async fn stats(&self, pod: &Pod) -> Result<Value> {
        get_json(pod, ports::CONTROL.number, paths::STATS).await
    }

    /// `/metrics` of a server pod.
    pub(crate) async fn server_metrics(&self, pod: &Pod) -> Result<String> {
        get(pod, ports::CONTROL.number, paths::METRICS).await
    }

    /// `/status` of the agent in a proxy pod.
    pub(crate) async fn agent(&self, pod: &Pod) -> Result<Value> {
        get_json(pod, ports::AGENT.number, paths::STATUS).await
    }

    /// `/status` of every agent.
    pub(crate) async fn agents(&self, name: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        for pod in self.pods(name, Component::Proxy).await?.values() {
            all.push(self.agent(pod).await?);
        }
        Ok(all)
    }

    /// Waits until all proxies of a resource that has two are ready.
    pub(crate) async fn both_proxies(&self, name: &str) -> Result<()> {
        let deployment = format!("deployment/{name}-proxy");
        let both = "--for=jsonpath={.status.readyReplicas}=2";
        self.kubectl(&["wait", both, &deployment, "--timeout=150s"])
            .await
            .map(drop)
    }

    /// Connects clients until both proxies have some: the Service needs a moment for the second
    /// one, on a busy machine a long one.
    pub(crate) async fn connect_through_both(&self, name: &str, clients: &mut ClientPool) -> Result<()> {
        let mut pause = Duration::from_millis(100);
        loop {
            clients.connect(20).await?;
            let used = self.used_proxies(name).await?;
            if used.len() == 2 {
                return Ok(());
            }
            ensure!(
                clients.held().len() < MOST_TO_MEET_BOTH,
                "all clients came through one proxy: {used:?}"
            );
            sleep(pause).await;
            pause *= 2;
        }
    }

    /// How many connections came through each proxy, by what the servers say. (They count a tunnel
    /// until they see its end.)
    async fn used_proxies(&self, name: &str) -> Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        for pod in self.pods(name, Component::Server).await?.values() {
            let stats = self.stats(pod).await?;
            let via = stats["via"].as_object().context("no via in /stats")?;
            for (proxy, count) in via {
                *counts.entry(proxy.clone()).or_default() += count.as_u64().unwrap_or_default();
            }
        }
        Ok(counts)
    }

    /// Connections that came through other proxies than this one.
    pub(crate) async fn via_others(&self, name: &str, proxy: &str) -> Result<u64> {
        let used = self.used_proxies(name).await?;
        let others = used.iter().filter(|(name, _)| !name.starts_with(proxy));
        Ok(others.map(|(_, count)| count).sum())
    }

    /// The operator's pod.
    pub(crate) async fn operator(&self) -> Result<Pod> {
        let api: Api<Pod> = self.api();
        let labels = ListParams::default().labels("websocket-operator.io/component=operator");
        let pods = within(CALL, "listing operators", api.list(&labels)).await?;
        pods.items.into_iter().next().context("no operator pod")
    }

    /// What an operator's pod serves under `/metrics`, for one counter of a cluster.
    pub(crate) async fn moves_granted(&self, name: &str) -> Result<i64> {
        let text = get(&self.operator().await?, ports::OPERATOR.number, paths::METRICS).await?;
        let start = format!(
            "wsc_operator_moves_granted_total{{namespace=\"{}\",cluster=\"{name}\"}} ",
            self.name()
        );
        let value = text.lines().find_map(|line| line.strip_prefix(&start));
        value.map_or(Ok(0), |value| Ok(value.trim().parse()?))
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), self.name())
    }
}

/// The pods of several tests have to fit on one node with two cores.
fn make_small(spec: &mut Value) -> Result<()> {
    let fields = spec.as_object_mut().context("a spec is an object")?;
    let small = serde_json::json!({"requests": {"cpu": "10m", "memory": "16Mi"}});
    for part in ["server", "proxy"] {
        let part = fields.entry(part).or_insert_with(|| serde_json::json!({}));
        if part.get("resources").is_none() {
            part["resources"] = small.clone();
        }
    }
    let redis = fields.entry("redis").or_insert_with(|| serde_json::json!({}));
    if redis.get("external").is_none() {
        redis["managed"] = serde_json::json!({"resources": small});
    }
    Ok(())
}

async fn install_crd(cluster: &Cluster) -> Result<()> {
    let file = cluster.environment.repository.join("crds/websocketclusters.yaml");
    let file = file.to_string_lossy();
    let kubectl = cluster.kubectl();
    kubectl
        .run(["apply", "--server-side", "--force-conflicts", "-f", &*file])
        .await?;
    let crd = "crd/websocketclusters.websocket-operator.io";
    // kubectl gives up on a CRD that is too new to have conditions.
    let established = || async {
        let wait = ["wait", "--for=condition=Established", crd, "--timeout=10s"];
        cluster.kubectl().run(wait).await.map(Some)
    };
    eventually(PATIENCE, "the CRD is established", established)
        .await
        .map(drop)
}

pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub(crate) fn address(pod: &Pod) -> Result<String> {
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    ip.context("the pod has no address")
}

/// How often its containers were started again.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|container| container.restart_count)
        .sum()
}

async fn get_json(pod: &Pod, port: u16, path: &str) -> Result<Value> {
    Ok(serde_json::from_str(&get(pod, port, path).await?)?)
}

async fn get(pod: &Pod, port: u16, path: &str) -> Result<String> {
    http1::fetch(&address(pod)?, port, path, CALL).await
}
