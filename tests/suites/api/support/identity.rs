//! The operator's own identity: the service account and the roles that the chart gives it, and a
//! token for it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use wsc_testing::cluster::Cluster;

use super::chart::{name, of_kind, render};

/// A service account with exactly the permissions of the chart in one namespace.
pub(crate) struct Identity {
    /// As the API server knows it.
    pub(crate) user: String,
    kubeconfig: Value,
    folder: tempfile::TempDir,
}

impl Identity {
    /// Creates it, in the namespace that it is to serve.
    pub(crate) async fn create(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let watch = format!("watchNamespaces={{{namespace}}}");
        let objects = render(cluster, namespace, namespace, &[&watch, "crds.enabled=false"]).await?;
        let account = of_kind(&objects, "ServiceAccount")
            .first()
            .map(|object| name(object).to_owned());
        let account = account.context("the chart has no ServiceAccount")?;
        let identity = objects.iter().filter(|object| {
            object["kind"] == "ServiceAccount"
                || object.get("rules").is_some()
                || object.get("roleRef").is_some()
        });
        let list = json!({"apiVersion": "v1", "kind": "List", "items": identity.collect::<Vec<_>>()});
        let apply = ["apply", "--server-side", "-f", "-"];
        cluster.kubectl().input(list.to_string()).run(apply).await?;
        let token = cluster
            .kubectl()
            .run([
                "create",
                "token",
                &account,
                "--namespace",
                namespace,
                "--duration=2h",
            ])
            .await?;
        Ok(Self {
            user: format!("system:serviceaccount:{namespace}:{account}"),
            kubeconfig: kubeconfig(cluster, token.trim())?,
            folder: tempfile::tempdir()?,
        })
    }

    /// The kubeconfig of this identity for the API server itself.
    pub(crate) fn kubeconfig(&self) -> Result<PathBuf> {
        self.write("kubeconfig", &self.kubeconfig)
    }

    fn write(&self, name: &str, kubeconfig: &Value) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, kubeconfig.to_string())?;
        Ok(path)
    }

    /// A kubeconfig for a fault proxy, which is whoever its own client is.
    pub(crate) fn through(&self, url: &str) -> Result<PathBuf> {
        let mut config = self.kubeconfig.clone();
        config["clusters"][0]["cluster"] = json!({"server": url});
        config["users"][0]["user"] = json!({});
        self.write("through", &config)
    }

    /// The API server as this identity sees it.
    pub(crate) async fn cluster(&self, cluster: &Cluster) -> Result<Cluster> {
        Ok(Cluster {
            environment: cluster.environment.clone(),
            client: self.client().await?,
        })
    }

    /// A client with this identity that tries each call once.
    pub(crate) async fn client(&self) -> Result<kube::Client> {
        let config = Kubeconfig::read_from(self.kubeconfig()?)?;
        let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        config.proxy_url = None;
        config.default_retry = false;
        Ok(kube::Client::try_from(config)?)
    }
}

/// The administrator's kubeconfig with another user.
fn kubeconfig(cluster: &Cluster, token: &str) -> Result<Value> {
    let mut config: Value = serde_yaml::from_str(&read(&cluster.environment.kubeconfig)?)?;
    let user = config["users"][0]["name"].clone();
    config["users"] = json!([{"name": user, "user": {"token": token}}]);
    Ok(config)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
