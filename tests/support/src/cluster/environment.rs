//! What `cargo xtask` tells in environment variables.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// Paths of the Kubernetes under test and of what is installed in it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `WSC_KUBECONFIG`: of the administrator.
    pub kubeconfig: PathBuf,
    /// `WSC_KUBECTL`.
    pub kubectl: PathBuf,
    /// `WSC_HELM`.
    pub helm: PathBuf,
    /// `WSC_AUDIT_LOG`: one JSON line per answered request.
    pub audit_log: PathBuf,
    /// `WSC_CLUSTER_STATE`: the folder of the running cluster, with its logs.
    pub state: PathBuf,
    /// `WSC_CHART`: the folder of the chart.
    pub chart: PathBuf,
    /// `WSC_REPO`: the checkout.
    pub repository: PathBuf,
}

impl Environment {
    /// Reads the variables.
    ///
    /// # Errors
    /// When one is not set.
    pub fn read() -> Result<Self> {
        Ok(Self {
            kubeconfig: variable("WSC_KUBECONFIG")?.into(),
            kubectl: variable("WSC_KUBECTL")?.into(),
            helm: variable("WSC_HELM")?.into(),
            audit_log: variable("WSC_AUDIT_LOG")?.into(),
            state: variable("WSC_CLUSTER_STATE")?.into(),
            chart: variable("WSC_CHART")?.into(),
            repository: variable("WSC_REPO")?.into(),
        })
    }

    /// `WSC_CLUSTER_PID`: process 1 of the local Kubernetes, on the machine.
    ///
    /// # Errors
    /// When `cargo xtask` did not name it, as for the API tier.
    pub fn process_1() -> Result<i32> {
        let pid = variable("WSC_CLUSTER_PID")?;
        pid.to_string_lossy().parse().context("WSC_CLUSTER_PID")
    }

    /// One of our own programs, for a test that runs it as a process: `operator`, `proxy-agent` or
    /// `server`.
    ///
    /// # Errors
    /// When `cargo xtask` did not name it.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        Ok(variable(&format!("WSC_BIN_{}", name.to_uppercase().replace('-', "_")))?.into())
    }
}

/// The images under test, each with a tag that names its content. They are in the nodes already.
#[derive(Clone, Debug)]
pub struct Images {
    /// `WSC_IMAGE_OPERATOR`.
    pub operator: String,
    /// `WSC_IMAGE_PROXY`.
    pub proxy: String,
    /// `WSC_IMAGE_SERVER`.
    pub server: String,
    /// `WSC_IMAGE_SERVER_AGAIN`: the same image by another name.
    pub server_again: String,
    /// `WSC_IMAGE_REDIS`.
    pub redis: String,
}

impl Images {
    /// Reads the variables.
    ///
    /// # Errors
    /// When one is not set.
    pub fn read() -> Result<Self> {
        let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
        Ok(Self {
            operator: text("WSC_IMAGE_OPERATOR")?,
            proxy: text("WSC_IMAGE_PROXY")?,
            server: text("WSC_IMAGE_SERVER")?,
            server_again: text("WSC_IMAGE_SERVER_AGAIN")?,
            redis: text("WSC_IMAGE_REDIS")?,
        })
    }
}

fn variable(name: &str) -> Result<OsString> {
    match std::env::var_os(name) {
        Some(value) if !value.is_empty() => Ok(value),
        _ => bail!(
            "{name} is not set: run `cargo xtask test api` or `cargo xtask test e2e`, which start a Kubernetes and say where it is"
        ),
    }
}
