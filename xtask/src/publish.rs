//! Sections of docs/benchmarks.md that a command writes; the rest is written by hand.

use std::fs;

use anyhow::{Context, Result};

use wsc_environment::repository;

const DOCUMENT: &str = "docs/benchmarks.md";

/// Replaces what is between the marks of a section.
pub(crate) fn section(name: &str, text: &str) -> Result<()> {
    let path = repository::path(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let document = with_section(&document, name, text)
        .with_context(|| format!("{DOCUMENT} has no marks of the section {name}"))?;
    fs::write(&path, document).with_context(|| format!("writing {}", path.display()))
}

fn with_section(document: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (
        format!("<!-- begin: {name} -->\n"),
        format!("<!-- end: {name} -->"),
    );
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_section_is_replaced() {
        let document =
            "# A\n<!-- begin: a -->\nold\n<!-- end: a -->\n<!-- begin: b -->\nb\n<!-- end: b -->\n";
        let wanted =
            "# A\n<!-- begin: a -->\n\nnew\n\n<!-- end: a -->\n<!-- begin: b -->\nb\n<!-- end: b -->\n";
        assert_eq!(with_section(document, "a", "new\n").as_deref(), Some(wanted));
        assert_eq!(with_section(document, "c", "new"), None);
    }

    #[test]
    fn document_has_the_sections_that_are_published() {
        let document = fs::read_to_string(repository::path(DOCUMENT)).unwrap();
        for name in ["server", "operator", "sim"] {
            assert!(with_section(&document, name, "").is_some(), "{name}");
        }
    }
}
