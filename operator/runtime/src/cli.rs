//! Command lines: what is printed instead of a start, and the exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

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
    P::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Text(error.to_string()),
        _ => Exit::Usage(one_line(&error.to_string(), P::command().get_name())),
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

/// clap's message without its usage paragraphs, in one line.
fn one_line(message: &str, program: &str) -> String {
    let is_message = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more");
    let lines = message.lines().take_while(is_message);
    let lines: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join("; ");
    format!(
        "{}; see {program} --help",
        text.strip_prefix("error: ").unwrap_or(&text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "wsc-test", version)]
    struct Args {
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
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
        for (flags, word) in [
            (&[][..], "--port"),
            (&["--port", "0"], "--port"),
            (&["--port", "1", "--nonsense"], "--nonsense"),
            (&["--port", "1", "walk"], "walk"),
            (&["--port", "1", "run", "--nonsense"], "--nonsense"),
        ] {
            let line = usage(flags);
            assert!(line.contains(word) && !line.contains('\n'), "{line}");
            assert!(
                !line.contains("Usage") && line.ends_with("; see wsc-test --help"),
                "{line}"
            );
        }
    }

    #[test]
    fn help_and_version_are_texts() {
        for (flag, word) in [("--help", "--port"), ("--version", env!("CARGO_PKG_VERSION"))] {
            match parse::<Args>(["wsc-test", flag]) {
                Err(Exit::Text(text)) => assert!(text.contains(word), "{text}"),
                other => panic!("{flag}: {other:?}"),
            }
        }
        assert_eq!(parse::<Args>(["wsc-test", "--port", "7"]).unwrap().port, 7);
    }
}
