//! A wrong command line in one line: flag and variable, what is valid, the value received.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

use super::value;

/// Longer values are cut in messages, in characters.
const SHOWN: usize = 100;

pub(super) fn line(error: &Error, program: &Command) -> String {
    let text = match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => invalid_value(error, program),
        ErrorKind::MissingRequiredArgument => missing(error, program),
        ErrorKind::ArgumentConflict => twice(error, program),
        ErrorKind::UnknownArgument => unknown_argument(error),
        ErrorKind::InvalidSubcommand => unknown_command(error, program),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Some(format!("a command is required; {}", commands(program)))
        }
        _ => None,
    };
    let text = text.unwrap_or_else(|| without_usage(&error.to_string()));
    format!("{text}; see {} --help", program.get_name())
}

fn invalid_value(error: &Error, program: &Command) -> Option<String> {
    let flag = Flag::new(string(error, ContextKind::InvalidArg)?, program);
    let received = string(error, ContextKind::InvalidValue).unwrap_or_default();
    let received = match &flag.arg {
        Some(arg) if arg.is_hide_env_values_set() => {
            "the received value is a secret and not shown".to_owned()
        }
        _ if received.is_empty() => "received no value".to_owned(),
        _ => format!("received {}", quoted(received)),
    };
    // Where the value is missing, clap names words only.
    let described: Vec<_> = flag.arg.and_then(value::description).into_iter().collect();
    let valid = match strings(error, ContextKind::ValidValue) {
        [] => described.as_slice(),
        words => words,
    };
    Some(match (error.source(), valid.is_empty()) {
        (Some(source), _) => format!("{}: {source}; {received}", flag.text),
        (None, true) => format!("{} requires a value", flag.text),
        (None, false) => format!("{} must be {}; {received}", flag.text, list(valid, "or")),
    })
}

fn missing(error: &Error, program: &Command) -> Option<String> {
    let flags = strings(error, ContextKind::InvalidArg);
    let names: Vec<_> = flags.iter().map(|flag| Flag::new(flag, program).text).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    (!names.is_empty()).then(|| format!("{} {verb} required", list(&names, "and")))
}

fn twice(error: &Error, program: &Command) -> Option<String> {
    let flag = string(error, ContextKind::InvalidArg)?;
    let same = string(error, ContextKind::PriorArg)? == flag;
    same.then(|| format!("{} is set twice", Flag::new(flag, program).text))
}

fn unknown_argument(error: &Error) -> Option<String> {
    let unknown = quoted(string(error, ContextKind::InvalidArg)?);
    let similar = string(error, ContextKind::SuggestedArg)
        .map(|similar| format!("; the similar flag {similar} exists"))
        .unwrap_or_default();
    Some(format!("unknown argument {unknown}{similar}"))
}

fn unknown_command(error: &Error, program: &Command) -> Option<String> {
    let unknown = quoted(string(error, ContextKind::InvalidSubcommand)?);
    Some(format!("unknown command {unknown}; {}", commands(program)))
}

fn commands(program: &Command) -> String {
    let names: Vec<_> = program
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    match names.as_slice() {
        [only] => format!("the only command is {only}"),
        names => format!("the commands are {}", list(names, "and")),
    }
}

/// A flag as clap prints it, `--port <PORT>`.
struct Flag<'a> {
    arg: Option<&'a Arg>,
    /// `--port (WSC_PORT)`.
    text: String,
}

impl<'a> Flag<'a> {
    fn new(printed: &str, program: &'a Command) -> Self {
        let name = printed
            .split([' ', '=', '['])
            .next()
            .unwrap_or(printed)
            .to_owned();
        let arg = name.strip_prefix("--").and_then(|long| find(long, program));
        let variable = arg.and_then(Arg::get_env).map(|name| name.to_string_lossy());
        let text = match variable {
            Some(variable) => format!("{name} ({variable})"),
            None => name,
        };
        Self { arg, text }
    }
}

fn find<'a>(long: &str, command: &'a Command) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(long));
    own.or_else(|| command.get_subcommands().find_map(|below| find(long, below)))
}

fn string(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

fn strings(error: &Error, kind: ContextKind) -> &[String] {
    match error.get(kind) {
        Some(ContextValue::Strings(texts)) => texts,
        _ => &[],
    }
}

/// `a`, `a or b`, `a, b or c`.
fn list(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [first @ .., word] => format!("{} {last} {word}", first.join(", ")),
    }
}

/// With escapes, so that it stays in one line.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}", format!("{}…", text.get(..end).unwrap_or_default())),
        None => format!("{text:?}"),
    }
}

/// clap's message without its usage paragraphs, in one line.
fn without_usage(message: &str) -> String {
    let is_message = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more");
    let lines = message.lines().take_while(is_message);
    let lines: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join("; ");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}
