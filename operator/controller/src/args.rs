//! The command line. Each flag has an environment variable.

use std::ffi::OsString;
use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use wsc_contract::env::operator as env;
use wsc_contract::image::ImageRef;
use wsc_contract::ports;
use wsc_runtime::admin::any_address;
use wsc_runtime::cli::{self, Exit};
use wsc_runtime::telemetry::LogFormat;

/// Kubernetes operator for WebSocketClusters: server pods behind HAProxy, scaled by the number of
/// connections.
#[derive(Debug, Parser)]
#[command(name = "wsc-operator", version, about, max_term_width = 110)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reconcile WebSocketClusters until SIGTERM
    Run(RunArgs),
}

/// Flags of `wsc-operator run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Image of the server pods of resources without spec.server.image
    #[arg(long, env = env::SERVER_IMAGE, value_name = "IMAGE", value_parser = cli::checked(ImageRef::RULE, parse_image))]
    pub server_image: String,
    /// Image with HAProxy and its agent
    #[arg(long, env = env::PROXY_IMAGE, value_name = "IMAGE", value_parser = cli::checked(ImageRef::RULE, parse_image))]
    pub proxy_image: String,
    /// Image of the managed Redis
    #[arg(long, env = env::REDIS_IMAGE, value_name = "IMAGE", value_parser = cli::checked(ImageRef::RULE, parse_image))]
    pub redis_image: String,
    /// Namespaces to watch, comma-separated; empty: all
    #[arg(
        long,
        env = env::WATCH_NAMESPACES,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = cli::checked("namespaces, comma-separated: each 1 to 63 of a-z 0-9 -, with a letter or digit at both ends", parse_namespace),
        hide_default_value = true
    )]
    pub watch_namespaces: Vec<String>,
    /// Log format; RUST_LOG sets the level (default `info`)
    #[arg(long, env = env::LOG_FORMAT, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// Listen address of /livez, /readyz and /metrics; port 0 selects a free port
    #[arg(
        long,
        env = env::ADMIN_ADDRESS,
        value_name = "ADDRESS",
        default_value_t = any_address(ports::OPERATOR.number),
        value_parser = cli::parsed::<SocketAddr>("IP:PORT, for example 127.0.0.1:8080 or [::]:8080")
    )]
    pub admin_address: SocketAddr,
    /// Namespace of the operator, whose pods the NetworkPolicies admit to control ports
    #[arg(
        long,
        env = env::POD_NAMESPACE,
        value_name = "NAMESPACE",
        default_value = "default"
    )]
    pub pod_namespace: String,
    /// Name of the operator's pod in events
    #[arg(long, env = env::POD_NAME, value_name = "NAME", default_value = "wsc-operator")]
    pub pod_name: String,
}

/// Parses the arguments of the process; the first is its name.
pub fn parse<I>(arguments: I) -> Result<RunArgs, Exit>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let Command::Run(mut args) = cli::parse::<Args>(arguments)?.command;
    args.watch_namespaces.retain(|namespace| !namespace.is_empty());
    args.watch_namespaces.sort();
    args.watch_namespaces.dedup();
    Ok(args)
}

fn parse_image(text: &str) -> Option<String> {
    text.parse::<ImageRef>().ok().map(String::from)
}

fn parse_namespace(text: &str) -> Option<String> {
    (text.is_empty() || is_label(text)).then(|| text.to_owned())
}

/// A DNS label, which the name of a namespace is.
fn is_label(name: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= 63
        && ends(name.chars().next())
        && ends(name.chars().last())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGES: [&str; 8] = [
        "wsc-operator",
        "run",
        "--server-image",
        "s:1",
        "--proxy-image",
        "p:1",
        "--redis-image",
        "r:1",
    ];

    fn read(more: &[&str]) -> Result<RunArgs, Exit> {
        parse(IMAGES.iter().chain(more))
    }

    #[test]
    fn namespaces_are_a_list_without_doubles() {
        let args = read(&["--watch-namespaces", "b,a,,b"]).unwrap();
        assert_eq!(args.watch_namespaces, ["a", "b"]);
        assert!(
            read(&["--watch-namespaces", ""])
                .unwrap()
                .watch_namespaces
                .is_empty()
        );
    }

    #[test]
    fn error_is_one_line_naming_the_flag() {
        for (more, flag) in [
            (&["--watch-namespaces", "a b"][..], "--watch-namespaces"),
            (&["--log-format", "xml"], "--log-format"),
            (&["--admin-address", "nowhere"], "--admin-address"),
            (&["--server-image", "two words"], "--server-image"),
            (&["--nonsense"], "--nonsense"),
        ] {
            let Err(Exit::Usage(line)) = read(more) else {
                panic!("{more:?} was accepted")
            };
            assert!(line.contains(flag) && !line.contains('\n'), "{line}");
        }
        let Err(Exit::Usage(line)) = parse(["wsc-operator", "run"]) else {
            panic!("no images were needed")
        };
        assert!(line.contains("--server-image") && !line.contains('\n'), "{line}");
    }
}
