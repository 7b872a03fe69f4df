//! The command line. Every flag is an environment variable too.

use std::ffi::OsString;
use std::net::SocketAddr;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand, ValueEnum};

/// Kubernetes operator for WebSocketClusters: server pods behind HAProxy, scaled by the number of connections.
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
    #[arg(long, env = "WSC_SERVER_IMAGE", value_name = "IMAGE", value_parser = parse_image)]
    pub server_image: String,
    /// Image with HAProxy and its agent
    #[arg(long, env = "WSC_PROXY_IMAGE", value_name = "IMAGE", value_parser = parse_image)]
    pub proxy_image: String,
    /// Image of the managed Redis
    #[arg(long, env = "WSC_REDIS_IMAGE", value_name = "IMAGE", value_parser = parse_image)]
    pub redis_image: String,
    /// Namespaces to watch, comma-separated; empty: all
    #[arg(
        long,
        env = "WSC_WATCH_NAMESPACES",
        value_name = "LIST",
        value_delimiter = ',',
        hide_default_value = true
    )]
    pub watch_namespaces: Vec<String>,
    /// Log format
    #[arg(long, env = "WSC_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// Listen address of /livez, /readyz and /metrics; port 0 selects a free port
    #[arg(
        long,
        env = "WSC_ADMIN_ADDRESS",
        value_name = "ADDRESS",
        default_value = "[::]:8080"
    )]
    pub admin_address: SocketAddr,
    /// Namespace of the operator, whose pods the NetworkPolicies admit to control ports
    #[arg(
        long,
        env = "POD_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "default"
    )]
    pub pod_namespace: String,
    /// Name of the operator's pod in events
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "wsc-operator")]
    pub pod_name: String,
}

/// Log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line
    Json,
    /// Plain text
    Text,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Exit {
    /// `--help` or `--version`: the text.
    Asked(String),
    /// One line that says what to write instead.
    Wrong(String),
}

impl Args {
    /// Parses the arguments of the process; the first is its name.
    pub fn read<I>(arguments: I) -> Result<RunArgs, Exit>
    where
        I: IntoIterator,
        I::Item: Into<OsString> + Clone,
    {
        let Command::Run(mut args) = Self::try_parse_from(arguments)
            .map_err(|error| exit(&error))?
            .command;
        args.watch_namespaces.retain(|namespace| !namespace.is_empty());
        args.watch_namespaces.sort();
        args.watch_namespaces.dedup();
        if let Some(namespace) = args.watch_namespaces.iter().find(|name| !is_label(name)) {
            return Err(Exit::Wrong(format!(
                "--watch-namespaces: {namespace:?} is not a namespace name"
            )));
        }
        Ok(args)
    }
}

fn exit(error: &clap::Error) -> Exit {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Asked(text),
        _ => Exit::Wrong(one_line(&text)),
    }
}

/// Clap's message without its usage, in one line.
fn one_line(text: &str) -> String {
    let message = text.split("\n\nUsage:").next().unwrap_or_default();
    let message = message
        .split("\n\nFor more information")
        .next()
        .unwrap_or_default();
    let words: Vec<&str> = message.trim_start_matches("error: ").split_whitespace().collect();
    format!("{}; see `wsc-operator run --help`", words.join(" "))
}

fn parse_image(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 512 || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("expected an image reference like registry/name:tag".to_owned());
    }
    Ok(text.to_owned())
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
        Args::read(IMAGES.iter().chain(more))
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
    fn what_is_wrong_is_said_in_one_line_that_names_the_flag() {
        for (more, flag) in [
            (&["--watch-namespaces", "a b"][..], "--watch-namespaces"),
            (&["--log-format", "xml"], "--log-format"),
            (&["--admin-address", "nowhere"], "--admin-address"),
            (&["--server-image", "two words"], "--server-image"),
            (&["--nonsense"], "--nonsense"),
        ] {
            let Err(Exit::Wrong(line)) = read(more) else {
                panic!("{more:?} was accepted")
            };
            assert!(line.contains(flag) && !line.contains('\n'), "{line}");
        }
        let Err(Exit::Wrong(line)) = Args::read(["wsc-operator", "run"]) else {
            panic!("no images were needed")
        };
        assert!(line.contains("--server-image") && !line.contains('\n'), "{line}");
    }
}
