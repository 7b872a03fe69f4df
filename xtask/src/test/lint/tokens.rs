//! What two checks ask of the tokens of a Rust source.

use std::iter::Peekable;

use anyhow::{Result, anyhow};
use proc_macro2::token_stream::IntoIter;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

pub(super) type Tokens = Peekable<IntoIter>;

pub(super) fn parse(text: &str) -> Result<TokenStream> {
    text.parse().map_err(|err| anyhow!("no Rust: {err}"))
}

pub(super) fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Whether the item below this attribute is compiled for tests only.
pub(super) fn is_for_tests(attribute: &Group) -> bool {
    attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// Skips to the end of an item: its braces, a semicolon, or the comma of a match arm, field or
/// variant. Returns its name where it is a module in a file of its own.
pub(super) fn skip_item(tokens: &mut Tokens) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    // Commas inside of `<A, B>` and of a where clause end nothing; the `>` of an arrow closes
    // nothing.
    let (mut depth, mut has_where) = (0_usize, false);
    for token in tokens.by_ref() {
        match token {
            TokenTree::Punct(end) if end.as_char() == ';' => break,
            TokenTree::Punct(end) if end.as_char() == ',' && depth == 0 && !has_where => return None,
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => return None,
            token => {
                let is_arrow = words.last().is_some_and(|last| last == "-" || last == "=");
                if is_punct(&token, '<') {
                    depth += 1;
                } else if is_punct(&token, '>') && !is_arrow {
                    depth = depth.saturating_sub(1);
                }
                let word = token.to_string();
                has_where |= word == "where";
                words.push(word);
            }
        }
    }
    match &words[..] {
        [.., keyword, name] if keyword == "mod" => Some(name.clone()),
        _ => None,
    }
}
