//! Logs on standard error: as text for people, as JSON for collectors, with the current span.

use std::error::Error;
use std::fmt::Write;
use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The words of `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line
    Json,
    /// For people
    Text,
}

/// Logs from now on. `RUST_LOG` sets levels, `info` or `wsc_operator=debug,kube=warn` (default
/// `info`).
pub(crate) fn init(format: LogFormat) {
    let subscriber = tracing_subscriber::registry().with(filter(std::env::var("RUST_LOG").ok().as_deref()));
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // Fails only if logging was initialized before, as by an earlier run in the same test process.
    let _ = match format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_span_list(false);
            subscriber.with(lines).try_init()
        }
        LogFormat::Text => subscriber.with(lines).try_init(),
    };
}

/// An error with its sources in one line: `watch: connect: refused`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string does not fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// Levels by target. `EnvFilter` could also select span fields, but brings a regular expression
/// engine.
fn filter(levels: Option<&str>) -> Targets {
    let parsed = levels
        .filter(|levels| !levels.is_empty())
        .and_then(|levels| levels.parse().ok());
    parsed.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn levels_default_to_info() {
        for levels in [None, Some(""), Some("=!"), Some("info")] {
            let filter = filter(levels);
            assert!(filter.would_enable("wsc_server", &Level::INFO), "{levels:?}");
            assert!(!filter.would_enable("wsc_server", &Level::DEBUG), "{levels:?}");
        }
    }

    #[test]
    fn levels_are_set_by_target() {
        let filter = filter(Some("warn,wsc_operator=debug"));
        assert!(filter.would_enable("wsc_operator::apply", &Level::DEBUG));
        assert!(!filter.would_enable("kube", &Level::INFO));
    }

    #[test]
    fn sources_are_in_the_line() {
        let error = anyhow::anyhow!("refused").context("connect").context("watch");
        assert_eq!(chain(error.as_ref()), "watch: connect: refused");
    }
}
