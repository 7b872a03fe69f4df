//! The command line. What the operator sets is an environment variable too.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::log::LogFormat;

/// The agent beside HAProxy: makes the running HAProxy equal to what websocket-operator published.
#[derive(Debug, Parser)]
#[command(name = "wsc-proxy-agent", version, about, max_term_width = 110)]
pub struct Args {
    /// How log lines look; what is logged is set by RUST_LOG (default `info`)
    #[arg(long, env = "WSC_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the first configuration for HAProxy out of the mounted one, then end
    Init(Places),
    /// Keep HAProxy equal to what is published
    Run(RunArgs),
}

/// Where things are.
#[derive(Debug, Clone, clap::Args)]
pub struct Places {
    /// The mounted ConfigMap: `haproxy.cfg` and `backends.json`
    #[arg(
        long,
        env = "WSC_CONFIG_FOLDER",
        default_value = "/etc/wsc-haproxy",
        value_name = "DIR"
    )]
    pub config_folder: PathBuf,
    /// Shared with HAProxy: its configuration, `haproxy.sock` and `master.sock`
    #[arg(
        long,
        env = "WSC_RUN_FOLDER",
        default_value = "/run/haproxy",
        value_name = "DIR"
    )]
    pub run_folder: PathBuf,
    /// The HAProxy that checks a configuration before it is used
    #[arg(long, env = "WSC_HAPROXY", default_value = "haproxy", value_name = "FILE")]
    pub haproxy: PathBuf,
    /// The name of this pod; HAProxy's configuration uses it
    #[arg(long, env = "POD_NAME", default_value = "proxy", value_name = "NAME")]
    pub pod_name: String,
}

/// The flags of `run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub places: Places,
    /// Where a change comes from: the ConfigMap by a watch (its mounted copy only at a start without API server), or the mounted
    /// files alone
    #[arg(long, env = "WSC_SOURCE", value_enum, default_value_t = SourceKind::Configmap)]
    pub source: SourceKind,
    /// The namespace of the ConfigMap
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", value_name = "NAME")]
    pub namespace: String,
    /// The name of the WebSocketCluster; its ConfigMap is NAME-haproxy
    #[arg(
        long,
        env = "WSC_CLUSTER",
        default_value = "",
        hide_default_value = true,
        value_name = "NAME"
    )]
    pub cluster: String,
    /// The port of /status, /readyz, /livez and /metrics; 0 takes any free one
    #[arg(long, env = "WSC_AGENT_PORT", default_value_t = 9101, value_name = "PORT")]
    pub admin_port: u16,
    /// How often HAProxy is compared without a change, in milliseconds
    #[arg(long, env = "WSC_RECHECK_MS", default_value_t = 2_000, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub recheck_ms: u64,
    /// The least time between two reloads, in milliseconds
    #[arg(long, env = "WSC_RELOAD_INTERVAL_MS", default_value_t = 5_000, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub reload_interval_ms: u64,
}

/// The words of `--source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SourceKind {
    Configmap,
    File,
}

impl RunArgs {
    pub fn recheck(&self) -> Duration {
        Duration::from_millis(self.recheck_ms)
    }

    pub fn reload_interval(&self) -> Duration {
        Duration::from_millis(self.reload_interval_ms)
    }
}
