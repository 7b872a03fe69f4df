//! A namespace for one test.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, ObjectMeta, PostParams};

use super::{Cluster, Environment, within};

/// One call to the API server.
const CALL: Duration = Duration::from_secs(20);

/// Lines of each container's log that a failure shows.
const LOG_LINES: &str = "--tail=50";

/// Deleted, with all that is in it, when dropped. When the test panics it prints first what is in
/// it; with `WSC_KEEP` set it stays.
pub struct Namespace {
    name: String,
    environment: Environment,
}

impl Cluster {
    /// A new namespace with the restricted Pod Security standard; it is deleted when the guard is
    /// dropped.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace> {
        Namespace::create(self, prefix).await
    }
}

impl Namespace {
    async fn create(cluster: &Cluster, prefix: &str) -> Result<Self> {
        let name = format!("{prefix}-{:08x}", rand::random::<u32>());
        let labels = BTreeMap::from([(
            "pod-security.kubernetes.io/enforce".to_owned(),
            "restricted".to_owned(),
        )]);
        let object = core::Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            ..core::Namespace::default()
        };
        let all: Api<core::Namespace> = Api::all(cluster.client.clone());
        within(
            CALL,
            "creating a namespace",
            all.create(&PostParams::default(), &object),
        )
        .await?;
        Ok(Self {
            name,
            environment: cluster.environment.clone(),
        })
    }

    /// Its name: the prefix and eight random hex digits.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its content: see [`Environment::describe`].
    pub fn describe(&self) -> String {
        self.environment.describe(&self.name)
    }
}

impl Environment {
    /// The content of a namespace as text: resources with status, events, pods, ConfigMaps, and the
    /// ends of the logs.
    pub fn describe(&self, namespace: &str) -> String {
        let mut text = format!("== namespace {namespace}\n");
        let list = "websocketclusters.websocket-operator.io,configmaps,deployments,services";
        for args in [
            &["get", list, "-o", "yaml"][..],
            &["get", "pods", "-o", "wide", "--show-labels"],
            &["get", "events", "--sort-by=.lastTimestamp"],
        ] {
            let output = self.kubectl_in(namespace, args);
            let _ = writeln!(text, "== kubectl {}\n{output}", args.join(" "));
        }
        for pod in self.kubectl_in(namespace, &["get", "pods", "-o", "name"]).lines() {
            let log = self.kubectl_in(
                namespace,
                &["logs", pod, "--all-containers", "--prefix", LOG_LINES],
            );
            let _ = writeln!(text, "== log of {pod}\n{log}");
        }
        text
    }

    /// Without a runtime, since it is also used while a panic unwinds.
    fn kubectl_in(&self, namespace: &str, args: &[&str]) -> String {
        let mut command = Command::new(&self.kubectl);
        command
            .args(["--namespace", namespace, "--request-timeout=20s"])
            .args(args);
        command.env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        match command.output() {
            Ok(output) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
            Err(err) => format!("kubectl: {err}"),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(
                clippy::print_stderr,
                reason = "the record of a failed test is part of its output"
            )]
            {
                eprintln!("{}", self.describe());
            }
        }
        if std::env::var_os("WSC_KEEP").is_none() {
            let delete = ["delete", "namespace", &self.name, "--wait=false"];
            self.environment.kubectl_in(&self.name, &delete);
        }
    }
}
