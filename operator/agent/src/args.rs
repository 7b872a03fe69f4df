//! The command line. Every flag is an environment variable too.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use wsc_contract::{env, files, ports};
use wsc_runtime::cli::{self, Exit};
use wsc_runtime::telemetry::LogFormat;

/// Keeps the HAProxy of a proxy pod equal to the configuration and servers that the operator
/// publishes
#[derive(Debug, Parser)]
#[command(name = "wsc-proxy-agent", version, about, max_term_width = 110)]
pub struct Args {
    /// Log format; RUST_LOG sets the level (default `info`)
    #[arg(long, env = env::agent::LOG_FORMAT, value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the first HAProxy configuration from the mounted ConfigMap and exit
    Init(Places),
    /// Keep HAProxy in sync until SIGTERM
    Run(RunArgs),
}

/// Files and directories.
#[derive(Debug, Clone, clap::Args)]
pub struct Places {
    /// Mount path of the ConfigMap with `haproxy.cfg`, `backends.json` and `settings.json`
    #[arg(long, env = env::agent::CONFIG_FOLDER, default_value = files::CONFIG_FOLDER, value_name = "DIR")]
    pub config_folder: PathBuf,
    /// Directory shared with HAProxy: its configuration, `haproxy.sock` and `master.sock`
    #[arg(long, env = env::agent::RUN_FOLDER, default_value = files::RUN_FOLDER, value_name = "DIR")]
    pub run_folder: PathBuf,
    /// HAProxy binary that checks a configuration before it is used
    #[arg(long, env = env::agent::HAPROXY, default_value = "haproxy", value_name = "FILE")]
    pub haproxy: PathBuf,
    /// Name of this pod; HAProxy sends it as `X-Wsc-Via`
    #[arg(long, env = env::agent::POD_NAME, default_value = "proxy", value_name = "NAME")]
    pub pod_name: String,
}

/// The flags of `run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub places: Places,
    /// Source of changes: `configmap` watches the ConfigMap and reads the mounted files only when
    /// it starts without the API server; `file` reads the mounted files only
    #[arg(long, env = env::agent::SOURCE, value_enum, default_value_t = SourceKind::Configmap)]
    pub source: SourceKind,
    /// Namespace of the ConfigMap
    #[arg(long, env = env::agent::POD_NAMESPACE, default_value = "default", value_name = "NAME")]
    pub namespace: String,
    /// Name of the WebSocketCluster; its ConfigMap is NAME-haproxy
    #[arg(long, env = env::agent::CLUSTER, default_value = "", hide_default_value = true, value_name = "NAME")]
    pub cluster: String,
    /// Port of /status, /readyz, /livez and /metrics; 0 selects a free port
    #[arg(long, env = env::agent::AGENT_PORT, default_value_t = ports::AGENT.number, value_name = "PORT",
          value_parser = cli::number(0_u16..=65_535))]
    pub admin_port: u16,
    /// Interval between two comparisons with HAProxy without a change, in milliseconds
    #[arg(long, env = env::agent::RECHECK_MS, default_value_t = 2_000, value_name = "MS",
          value_parser = cli::number(50_u64..=60_000))]
    pub recheck_ms: u64,
    /// Minimum time between two reloads, in milliseconds
    #[arg(long, env = env::agent::RELOAD_INTERVAL_MS, default_value_t = 5_000, value_name = "MS",
          value_parser = cli::number(0_u64..=600_000))]
    pub reload_interval_ms: u64,
}

/// The words of `--source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SourceKind {
    Configmap,
    File,
}

impl Args {
    /// Parses the command line and the environment; the first argument is the program.
    pub fn read(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, Exit> {
        let args: Self = cli::parse(arguments)?;
        match &args.command {
            Command::Run(run) if run.source == SourceKind::Configmap && run.cluster.is_empty() => {
                let line = "--cluster (WSC_CLUSTER) is required: it names the ConfigMap to watch";
                Err(Exit::Usage(line.to_owned()))
            }
            _ => Ok(args),
        }
    }
}

impl RunArgs {
    pub(crate) fn recheck(&self) -> Duration {
        Duration::from_millis(self.recheck_ms)
    }

    pub(crate) fn reload_interval(&self) -> Duration {
        Duration::from_millis(self.reload_interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watching_needs_a_cluster() {
        let read = |more: &[&str]| Args::read(["wsc-proxy-agent", "run"].iter().chain(more));
        assert!(read(&["--cluster", "chat"]).is_ok() && read(&["--source", "file"]).is_ok());
        let Err(Exit::Usage(line)) = read(&[]) else {
            panic!("no cluster was needed")
        };
        assert!(line.contains("WSC_CLUSTER"), "{line}");
    }
}
