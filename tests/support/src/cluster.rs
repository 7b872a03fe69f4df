//! Talks to the Kubernetes that `cargo xtask test` or `cargo xtask demo` has started, by what they
//! say in the environment.

pub mod audit;
mod environment;
mod eventually;
mod namespace;
mod operator;
pub mod processes;
mod tools;

use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};

pub use environment::{Environment, Images};
pub use eventually::{eventually, within};
pub use namespace::Namespace;
pub use operator::Operator;
pub use tools::{Finished, Tool};

/// How long the API server may take to accept a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// A Kubernetes with a client, kubectl, Helm and the audit log of its API server.
#[derive(Clone)]
pub struct Cluster {
    /// Where everything is.
    pub environment: Environment,
    /// As its administrator.
    pub client: kube::Client,
}

impl Cluster {
    /// The Kubernetes that this process was started for.
    ///
    /// # Errors
    /// When the environment does not name one: the message says which command does.
    pub async fn connect() -> Result<Self> {
        let environment = Environment::read()?;
        let kubeconfig = Kubeconfig::read_from(&environment.kubeconfig).context("reading WSC_KUBECONFIG")?;
        let mut config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.connect_timeout = Some(CONNECT_WAIT);
        // The API server is beside this process: what the machine uses for the internet cannot
        // reach it.
        config.proxy_url = None;
        let client = kube::Client::try_from(config).context("a client for WSC_KUBECONFIG")?;
        Ok(Self { environment, client })
    }

    /// `kubectl`, as the administrator.
    pub fn kubectl(&self) -> Tool {
        Tool::new(&self.environment.kubectl, &self.environment.kubeconfig)
    }

    /// `helm`, as the administrator.
    pub fn helm(&self) -> Tool {
        Tool::new(&self.environment.helm, &self.environment.kubeconfig)
    }

    /// Every request that the API server has answered.
    pub fn audit(&self) -> audit::AuditLog {
        audit::AuditLog::new(&self.environment.audit_log)
    }
}
