//! Command lines: what is printed instead of a start, and the exit code.

mod usage;
mod value;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

pub use value::{Valid, checked, description, number, parsed, text};

/// Exit code of a wrong command line.
const USAGE: u8 = 2;

/// Why a program ends before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// `--help` or `--version`: the text for standard output, exit code 0.
    Text(String),
    /// A wrong command line: one line for standard error, exit code 2.
    Usage(String),
}

/// Parses arguments and environment; the first argument is the program.
///
/// # Errors
/// What to print instead of a start.
pub fn parse<P: Parser>(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<P, Exit> {
    let command = value::with_descriptions(P::command());
    let parsed = command.clone().try_get_matches_from(arguments);
    let parsed = parsed.and_then(|matches| P::from_arg_matches(&matches));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Text(error.to_string()),
        _ => Exit::Usage(usage::line(&error, &command)),
    })
}

impl Exit {
    /// Prints it and returns the exit code.
    pub fn print(&self, program: &str) -> ExitCode {
        // The reader may have closed the pipe, which is no failure of the program.
        match self {
            Self::Text(text) => {
                let _ = writeln!(io::stdout(), "{}", text.trim_end());
                ExitCode::SUCCESS
            }
            Self::Usage(line) => {
                let _ = writeln!(io::stderr(), "{program}: {line}");
                ExitCode::from(USAGE)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "wsc-test", version)]
    struct Args {
        #[arg(long, env = "WSC_TEST_PORT", value_parser = number(1_u16..=65_535))]
        port: u16,
        #[arg(long, env = "WSC_TEST_SECRET", hide_env_values = true, value_parser = number(1_u64..))]
        secret: Option<u64>,
        #[arg(long)]
        address: Option<std::net::SocketAddr>,
        #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, value_name = "BOOL")]
        switch: Option<bool>,
        #[command(subcommand)]
        command: Option<Command>,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Command {
        Run,
    }

    fn usage(flags: &[&str]) -> String {
        match parse::<Args>(["wsc-test"].iter().chain(flags)) {
            Err(Exit::Usage(line)) => line,
            other => panic!("{flags:?}: {other:?}"),
        }
    }

    #[test]
    fn wrong_command_lines_are_one_line() {
        let port = "--port (WSC_TEST_PORT)";
        for (flags, expected) in [
            (&[][..], format!("{port} is required")),
            (
                &["--port", "0"],
                format!("{port} must be 1 to 65535; received \"0\""),
            ),
            (
                &["--port", "x\ny"],
                format!("{port} must be 1 to 65535; received \"x\\ny\""),
            ),
            (
                &["--port", "70000"],
                format!("{port} must be 1 to 65535; received \"70000\""),
            ),
            (
                &["--port"],
                format!("{port} must be 1 to 65535; received no value"),
            ),
            (&["--port", "1", "--port", "2"], format!("{port} is set twice")),
            (
                &["--port", "1", "--secret", "no"],
                "--secret (WSC_TEST_SECRET) must be 1 or more; the received value is a secret and not shown"
                    .to_owned(),
            ),
            (
                &["--port", "1", "--switch", "no"],
                "--switch must be true or false; received \"no\"".to_owned(),
            ),
            (
                &["--port", "1", "--address", "no"],
                "--address: invalid socket address syntax; received \"no\"".to_owned(),
            ),
            (
                &["--port", "1", "--nonsense"],
                "unknown argument \"--nonsense\"".to_owned(),
            ),
            (
                &["--prot", "1"],
                "unknown argument \"--prot\"; the similar flag --port exists".to_owned(),
            ),
            (
                &["--port", "1", "walk"],
                "unknown command \"walk\"; the only command is run".to_owned(),
            ),
            (
                &["--port", "1", "run", "--nonsense"],
                "unknown argument \"--nonsense\"".to_owned(),
            ),
        ] {
            assert_eq!(usage(flags), format!("{expected}; see wsc-test --help"));
        }
    }

    #[test]
    fn long_values_are_cut() {
        let line = usage(&["--port", &"9".repeat(10_000)]);
        assert!(line.len() < 300 && line.contains("999…\""), "{line}");
    }

    #[test]
    fn missing_command_is_one_line() {
        #[derive(Debug, Parser)]
        #[command(name = "wsc-test", about = "Does a thing")]
        struct Required {
            #[command(subcommand)]
            command: Command,
        }
        let Err(Exit::Usage(line)) = parse::<Required>(["wsc-test"]) else {
            panic!("no command was needed")
        };
        assert_eq!(
            line,
            "a command is required; the only command is run; see wsc-test --help"
        );
    }

    #[test]
    fn help_and_version_are_texts() {
        for (flag, word) in [
            ("--help", "Valid: 1 to 65535"),
            ("-h", "; valid: 1 to 65535"),
            ("--version", env!("CARGO_PKG_VERSION")),
        ] {
            match parse::<Args>(["wsc-test", flag]) {
                Err(Exit::Text(text)) => {
                    assert!(text.contains(word) && !text.contains("values: ]"), "{text}");
                }
                other => panic!("{flag}: {other:?}"),
            }
        }
        assert_eq!(parse::<Args>(["wsc-test", "--port", "7"]).unwrap().port, 7);
    }
}
