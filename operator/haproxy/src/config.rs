//! The configuration as a typed model, and its text in one place.

use std::fmt;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Config {
    pub sections: Vec<Section>,
}

/// `global`, `defaults`, `frontend ws`, `backend ws_pool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub kind: &'static str,
    pub name: Option<&'static str>,
    pub directives: Vec<Directive>,
}

/// One line: a keyword and its arguments. An argument is written bare where that is safe and in quotes otherwise, so whatever it
/// holds stays one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    pub keyword: &'static str,
    pub arguments: Vec<Argument>,
}

/// One argument of a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Taken literally, whatever it holds.
    Literal(String),
    /// The value of an environment variable of HAProxy, expanded by HAProxy.
    Environment(&'static str),
}

impl Directive {
    /// A directive out of words: each word is one literal argument.
    pub fn new<I>(keyword: &'static str, words: I) -> Self
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

    /// The same with text that is ours and holds only plain words.
    pub fn words(keyword: &'static str, text: &str) -> Self {
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

/// A line of the file must stay a line: HAProxy has no escape for a line feed inside quotes, and nothing of ours holds one.
fn without_control(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
