//! Rules of this repository that no compiler knows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

use super::tokens::{self, is_punct};
use wsc_environment::repository;

/// A file has at most this many lines.
const FILE_LINES: usize = 500;
/// A comment ends at this column.
const COMMENT_COLUMNS: usize = 100;
/// The name of a test has at most this many words.
const TEST_WORDS: usize = 7;

/// Descriptions of fields: `///` keeps its line breaks in the CRD.
const FIELDS: &str = "operator/api/src/v1alpha1/";

/// No test carries `#[ignore]`.
pub(super) fn no_ignored_test(sources: &[PathBuf]) -> Result<()> {
    offenders(sources, "an ignored test", |_, text| Ok(ignored_tests(text)))
}

/// Files are short.
pub(super) fn short_files(sources: &[PathBuf]) -> Result<()> {
    let what = format!("more than {FILE_LINES} lines");
    offenders(sources, &what, |_, text| {
        let is_long = text.lines().count() > FILE_LINES;
        Ok(is_long.then_some(FILE_LINES + 1).into_iter().collect())
    })
}

/// Comments are wrapped.
pub(super) fn wrapped_comments(sources: &[PathBuf]) -> Result<()> {
    let fields = repository::path(FIELDS);
    let what = format!("a comment beyond column {COMMENT_COLUMNS}");
    offenders(sources, &what, |path, text| {
        Ok(wide_comments(text, path.starts_with(&fields)))
    })
}

/// Names of tests are short.
pub(super) fn short_test_names(sources: &[PathBuf]) -> Result<()> {
    let what = format!("a test name of more than {TEST_WORDS} words");
    offenders(sources, &what, |_, text| long_test_names(text))
}

fn ignored_tests(text: &str) -> Vec<usize> {
    lines(text, |line| line.trim_start().starts_with("#[ignore"))
}

fn wide_comments(text: &str, has_fields: bool) -> Vec<usize> {
    lines(text, |line| {
        let comment = line.trim_start();
        let is_field = has_fields && comment.starts_with("///");
        comment.starts_with("//") && !is_field && line.chars().count() > COMMENT_COLUMNS
    })
}

fn long_test_names(text: &str) -> Result<Vec<usize>> {
    let names = test_names(tokens::parse(text)?).into_iter();
    let long = names.filter(|name| name.to_string().split('_').count() > TEST_WORDS);
    Ok(long.map(|name| name.span().start().line).collect())
}

/// Names of the functions below an attribute `#[test]`, `#[tokio::test]`, also inside of macros.
fn test_names(tokens: TokenStream) -> Vec<Ident> {
    let mut names = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    let mut is_test = false;
    while let Some(token) = tokens.next() {
        match (token, tokens.peek()) {
            (token, Some(TokenTree::Group(attribute))) if is_punct(&token, '#') => {
                is_test |= is_test_attribute(attribute);
                tokens.next();
            }
            (TokenTree::Ident(word), Some(TokenTree::Ident(name)))
                if word == "fn" && std::mem::take(&mut is_test) =>
            {
                names.push(name.clone());
            }
            (TokenTree::Group(group), _) => names.extend(test_names(group.stream())),
            _ => {}
        }
    }
    names
}

/// `[test]`, `[tokio::test(…)]`: the last word of the path.
fn is_test_attribute(attribute: &Group) -> bool {
    let path = attribute.stream().into_iter();
    let path = path.take_while(|token| !matches!(token, TokenTree::Group(_)));
    attribute.delimiter() == Delimiter::Bracket
        && matches!(path.last(), Some(TokenTree::Ident(last)) if last == "test")
}

/// Numbers of the lines that are bad.
fn lines(text: &str, is_bad: impl Fn(&str) -> bool) -> Vec<usize> {
    let numbered = (1..).zip(text.lines());
    numbered
        .filter(|(_, line)| is_bad(line))
        .map(|(number, _)| number)
        .collect()
}

/// An error lists the files and lines that `find` returns.
fn offenders(
    sources: &[PathBuf],
    what: &str,
    find: impl Fn(&Path, &str) -> Result<Vec<usize>>,
) -> Result<()> {
    let mut found = Vec::new();
    for path in sources {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let lines = find(path, &text).with_context(|| path.display().to_string())?;
        found.extend(lines.iter().map(|line| format!("{}:{line}", path.display())));
    }
    if !found.is_empty() {
        bail!("{what}:\n{}", found.join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_test_is_found_outside_comments() {
        let text = "// no #[ignore] here\n    #[ignore = \"slow\"]\n    fn a() {}\n";
        assert_eq!(ignored_tests(text), [2]);
    }

    #[test]
    fn files_of_offenders_are_named() {
        let file = std::env::temp_dir().join(format!("wsc-lint-{}.rs", std::process::id()));
        fs::write(&file, "#[ignore]\n").unwrap();
        let err = no_ignored_test(std::slice::from_ref(&file)).unwrap_err();
        fs::remove_file(&file).unwrap();
        let place = format!("{}:1", file.display());
        assert!(err.to_string().contains(&place), "{err}");
    }

    #[test]
    fn wide_comment_is_found_outside_fields() {
        let comment = |slashes: &str, columns: usize| {
            let text = "é".repeat(columns - slashes.len() - 5);
            format!("    {slashes} {text}\n")
        };
        let code = format!("const A: &str = \"// {}\";\n", "x".repeat(COMMENT_COLUMNS));
        let (good, bad) = (
            comment("//", COMMENT_COLUMNS),
            comment("///", COMMENT_COLUMNS + 1),
        );
        let text = good + &code + &bad;
        assert_eq!(wide_comments(&text, false), [3]);
        assert!(
            wide_comments(&text, true).is_empty(),
            "the CRD has its line breaks"
        );
    }

    #[test]
    fn long_test_name_is_found_anywhere() {
        let name = |words: usize| vec!["a"; words].join("_");
        let (seven, eight) = (name(TEST_WORDS), name(TEST_WORDS + 1));
        let text = format!(
            "#[test]
            fn {seven}() {{}}
            #[cfg(test)]
            fn {eight}() {{}}
            #[test]
            fn {eight}() {{}}
            mod a {{
                #[tokio::test(start_paused = true)]
                #[expect(b)]
                async fn {eight}() {{}}
            }}
            proptest! {{
                #[test]
                /// Why.
                fn {eight}(a in 0..1) {{}}
            }}"
        );
        assert_eq!(long_test_names(&text).unwrap(), [6, 10, 15]);
    }
}
