//! The texts of a Rust source that its program shows.

use anyhow::Result;
use proc_macro2::{Group, Literal, TokenStream, TokenTree};

use crate::test::lint::tokens::{self, is_for_tests, is_punct, skip_item};

/// Text that a user reads, with the number of its first line.
pub(super) struct Passage {
    pub(super) line: usize,
    pub(super) text: String,
}

/// What one file holds.
#[derive(Default)]
pub(super) struct Source {
    pub(super) passages: Vec<Passage>,
    /// Names of modules that are compiled for tests only.
    pub(super) test_modules: Vec<String>,
    /// Whether `///` comments are shown, since clap makes `--help` of them.
    comments: bool,
}

/// Reads string literals and, where clap is used, `///` comments.
pub(super) fn read(text: &str) -> Result<Source> {
    let mut source = Source {
        comments: text.contains("clap"),
        ..Source::default()
    };
    source.collect(tokens::parse(text)?);
    Ok(source)
}

impl Source {
    fn collect(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        // The lines of one comment follow each other: a phrase may go over the end of a line.
        let mut comment: Option<Passage> = None;
        while let Some(token) = tokens.next() {
            if is_punct(&token, '#') {
                let is_inner = tokens.next_if(|next| is_punct(next, '!')).is_some();
                if let Some(TokenTree::Group(attribute)) = tokens.peek().cloned() {
                    tokens.next();
                    match line_of_comment(&attribute) {
                        Some(_) if is_inner || !self.comments => {}
                        Some(line) => match &mut comment {
                            Some(comment) => comment.text.push_str(&format!("\n{}", line.text)),
                            None => comment = Some(line),
                        },
                        None if is_for_tests(&attribute) => self.test_modules.extend(skip_item(&mut tokens)),
                        None => self.collect(attribute.stream()),
                    }
                }
                continue;
            }
            self.passages.extend(comment.take());
            match token {
                TokenTree::Group(group) => self.collect(group.stream()),
                TokenTree::Literal(literal) => self.passages.extend(string(&literal)),
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

/// A comment is `#[doc = "…"]` to the compiler.
fn line_of_comment(attribute: &Group) -> Option<Passage> {
    let tokens: Vec<TokenTree> = attribute.stream().into_iter().collect();
    match &tokens[..] {
        [TokenTree::Ident(name), _, TokenTree::Literal(line)] if name == "doc" => string(line),
        _ => None,
    }
}

/// The text of a string literal as it is written, its escapes taken for space.
fn string(literal: &Literal) -> Option<Passage> {
    let written = literal.to_string();
    written.contains('"').then(|| Passage {
        line: literal.span().start().line,
        text: without_escapes(written.trim_matches('"')),
    })
}

/// Line ends are kept, since a hit has a line.
fn without_escapes(written: &str) -> String {
    let mut text = String::new();
    let mut letters = written.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            text.push(letter);
            continue;
        }
        text.push_str(if letters.next() == Some('\n') { "\n" } else { " " });
    }
    text
}
