//! Parsers of values that describe what is valid: `--help`, errors and `docs/flags.md` print the
//! same text.

use std::ffi::OsStr;
use std::fmt::Display;
use std::ops::{Bound, RangeBounds};
use std::str::FromStr;
use std::sync::Arc;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

/// A value parser and the description of what it accepts.
pub struct Valid<T> {
    text: String,
    parse: Arc<Parse<T>>,
}

type Parse<T> = dyn Fn(&str) -> Option<T> + Send + Sync;

/// A number in a range.
pub fn number<T>(range: impl RangeBounds<T> + Send + Sync + 'static) -> Valid<T>
where
    T: FromStr + PartialOrd + Display,
{
    Valid {
        text: range_text(range.start_bound(), range.end_bound()),
        parse: Arc::new(move |text| text.parse().ok().filter(|number| range.contains(number))),
    }
}

/// A value that its type parses; `valid` completes the sentence "the flag must be".
pub fn parsed<T: FromStr>(valid: impl Into<String>) -> Valid<T> {
    checked(valid, |text| text.parse().ok())
}

/// A value that `parse` accepts; `valid` completes the sentence "the flag must be".
pub fn checked<T>(
    valid: impl Into<String>,
    parse: impl Fn(&str) -> Option<T> + Send + Sync + 'static,
) -> Valid<T> {
    Valid {
        text: valid.into(),
        parse: Arc::new(parse),
    }
}

/// Any text; what it must be is checked later, beside other values.
pub fn text(valid: impl Into<String>) -> Valid<String> {
    checked(valid, |text| Some(text.to_owned()))
}

/// What the parser of the flag accepts, in words; `None` for words, which clap prints itself, and
/// for any text.
pub fn description(arg: &Arg) -> Option<String> {
    let mut values = arg.get_possible_values().into_iter();
    values
        .find(PossibleValue::is_hide_set)
        .map(|value| value.get_name().to_owned())
}

/// The command with the descriptions in its help.
pub(super) fn with_descriptions(command: Command) -> Command {
    let describe = |arg: Arg| {
        let Some(valid) = description(&arg) else {
            return arg;
        };
        let help = arg.get_long_help().or_else(|| arg.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        arg.hide_possible_values(true)
            .help(format!("{help}; valid: {valid}"))
            .long_help(format!("{help}\n\nValid: {valid}"))
    };
    command.mut_args(describe).mut_subcommands(with_descriptions)
}

fn range_text<T: Display>(start: Bound<&T>, end: Bound<&T>) -> String {
    match (start, end) {
        (Bound::Included(least), Bound::Included(most)) => format!("{least} to {most}"),
        (Bound::Included(least), _) => format!("{least} or more"),
        (_, Bound::Included(most)) => format!("{most} or less"),
        _ => "a number".to_owned(),
    }
}

impl<T> Clone for Valid<T> {
    fn clone(&self) -> Self {
        Self {
            text: self.text.clone(),
            parse: Arc::clone(&self.parse),
        }
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Valid<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        if let Some(parsed) = value.to_str().and_then(|text| (self.parse)(text)) {
            return Ok(parsed);
        }
        let mut error = Error::new(ErrorKind::InvalidValue).with_cmd(command);
        let flag = arg.map(ToString::to_string).unwrap_or_default();
        error.insert(ContextKind::InvalidArg, ContextValue::String(flag));
        let received = value.to_string_lossy().into_owned();
        error.insert(ContextKind::InvalidValue, ContextValue::String(received));
        error.insert(
            ContextKind::ValidValue,
            ContextValue::Strings(vec![self.text.clone()]),
        );
        Err(error)
    }

    /// Hidden: it is a description and no word, which clap would print as one.
    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(std::iter::once(
            PossibleValue::new(self.text.clone()).hide(true),
        )))
    }
}
