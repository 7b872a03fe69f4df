//! The flags of the three programs, read from their clap definitions.

use clap::{Arg, Command, CommandFactory};
use serde::{Deserialize, Serialize};

/// One flag of one command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flag {
    /// Program and subcommand, as typed.
    pub(crate) command: String,
    /// With its dashes.
    #[serde(rename = "flag")]
    pub(crate) name: String,
    pub(crate) variable: Option<String>,
    pub(crate) default: Option<String>,
    pub(crate) required: bool,
    /// Accepted words; empty when any text may be given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) words: Vec<String>,
    /// The text of `--help`; not part of a release snapshot.
    #[serde(skip)]
    pub(crate) meaning: String,
}

/// Every flag of the three programs, in the order of their `--help`.
pub(crate) fn all() -> Vec<Flag> {
    let programs = [
        wsc_operator::args::Args::command(),
        wsc_proxy_agent::args::Args::command(),
        wsc_server::args::Args::command(),
    ];
    let mut flags = Vec::new();
    for program in &programs {
        collect(program, program.get_name(), &mut flags);
    }
    flags
}

fn collect(command: &Command, path: &str, flags: &mut Vec<Flag>) {
    // `--help` and `--version` are added later, when clap builds the command.
    flags.extend(command.get_arguments().filter_map(|arg| flag(arg, path)));
    for below in command.get_subcommands() {
        collect(below, &format!("{path} {}", below.get_name()), flags);
    }
}

fn flag(arg: &Arg, command: &str) -> Option<Flag> {
    let text = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
    let defaults: Vec<String> = arg.get_default_values().iter().map(|value| text(value)).collect();
    let words = arg.get_possible_values();
    let help = arg.get_long_help().or_else(|| arg.get_help());
    Some(Flag {
        command: command.to_owned(),
        name: format!("--{}", arg.get_long()?),
        variable: arg.get_env().map(text),
        default: (!defaults.is_empty()).then(|| defaults.join(",")),
        required: arg.is_required_set(),
        words: words.iter().map(|word| word.get_name().to_owned()).collect(),
        meaning: help.map(ToString::to_string).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_every_program_and_subcommand() {
        let flags = all();
        let find = |command: &str, name: &str| {
            let mut found = flags.iter().filter(|f| f.command == command && f.name == name);
            found.next().unwrap_or_else(|| panic!("{command} {name}"))
        };
        let image = find("wsc-operator run", "--server-image");
        assert_eq!(image.variable.as_deref(), Some("WSC_SERVER_IMAGE"));
        assert!(image.required && image.default.is_none() && !image.meaning.is_empty());
        let port = find("wsc-server", "--port");
        assert_eq!((port.default.as_deref(), port.required), (Some("8080"), false));
        let format = find("wsc-proxy-agent", "--log-format");
        assert_eq!(format.words, ["json", "text"]);
    }
}
