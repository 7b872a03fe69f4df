//! The configuration as a typed model, and its text.

use std::fmt;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Config {
    pub(crate) sections: Vec<Section>,
}

/// `global`, `defaults`, `frontend ws`, `backend ws_pool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) kind: &'static str,
    pub(crate) name: Option<&'static str>,
    pub(crate) directives: Vec<Directive>,
}

/// One line: a keyword and its arguments. An argument is quoted where necessary, so it always stays
/// one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) keyword: &'static str,
    pub(crate) arguments: Vec<Argument>,
}

/// One argument of a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    /// Taken literally, whatever it contains.
    Literal(String),
    /// The value of an environment variable of HAProxy, expanded by HAProxy.
    Environment(&'static str),
}

impl Directive {
    /// A directive of literal arguments.
    pub(crate) fn new<I>(keyword: &'static str, words: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self {
            keyword,
            arguments: words
                .into_iter()
                .map(|word| Argument::Literal(word.into()))
                .collect(),
        }
    }

    /// A directive whose arguments are the words of a constant text.
    pub(crate) fn words(keyword: &'static str, text: &str) -> Self {
        Self::new(keyword, text.split_whitespace())
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# Written by websocket-operator. Changes are overwritten.\n\n")?;
        for section in &self.sections {
            writeln!(f, "{section}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if let Some(name) = self.name {
            write!(f, " {name}")?;
        }
        f.write_str("\n")?;
        for directive in &self.directives {
            writeln!(f, "    {directive}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword)?;
        for argument in &self.arguments {
            write!(f, " {argument}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "\"${{{name}}}\""),
            Self::Literal(text) if is_plain(text) => f.write_str(text),
            Self::Literal(text) => write!(f, "'{}'", without_control(text).replace('\'', "'\\''")),
        }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '#' | '$'))
}

/// HAProxy has no escape for a line feed inside quotes, and no value of this crate contains one.
fn without_control(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
