//! The paths in a Rust source: what it imports, and what it names in place.

use std::collections::BTreeMap;

use anyhow::Result;
use proc_macro2::{TokenStream, TokenTree};

use crate::test::lint::tokens::{self, Tokens, is_for_tests, is_punct, skip_item};

/// A path by its segments.
pub(super) type Path = Vec<String>;

/// What one file says, without what is compiled for tests only.
#[derive(Default)]
pub(super) struct Paths {
    /// Imports: the local name, its target, and whether it is exported.
    pub(super) imports: Vec<Import>,
    /// Paths of at least two segments outside of imports, each with the inline modules around it.
    pub(super) named: Vec<(Path, Path)>,
    /// How often a name is used outside of imports.
    pub(super) uses: BTreeMap<String, usize>,
    /// Modules that are compiled for tests only.
    pub(super) test_modules: Vec<String>,
}

/// One name of a `use`.
#[derive(Debug, PartialEq)]
pub(super) struct Import {
    pub(super) name: String,
    pub(super) path: Path,
    pub(super) is_public: bool,
    /// The inline modules around it.
    pub(super) inside: Path,
}

pub(super) fn read(text: &str) -> Result<Paths> {
    let mut paths = Paths::default();
    paths.collect(tokens::parse(text)?, &Vec::new());
    Ok(paths)
}

impl Paths {
    fn collect(&mut self, tokens: TokenStream, inside: &Path) {
        let mut tokens = tokens.into_iter().peekable();
        let mut is_public = false;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => self.attribute(&mut tokens, inside),
                // A field or a method is no path.
                TokenTree::Punct(punct) if punct.as_char() == '.' => {
                    if tokens.next_if(|next| is_punct(next, '.')).is_none() {
                        tokens.next_if(|next| matches!(next, TokenTree::Ident(_)));
                    }
                }
                TokenTree::Ident(word) => match word.to_string().as_str() {
                    "pub" => {
                        is_public = true;
                        // `pub(crate)`, which imports as far as files are concerned.
                        tokens.next_if(|next| matches!(next, TokenTree::Group(_)));
                        continue;
                    }
                    "use" => self.import(&mut tokens, &Vec::new(), is_public, inside),
                    "mod" => self.module(&mut tokens, inside),
                    word => self.name(word, &mut tokens, inside),
                },
                TokenTree::Group(group) => self.collect(group.stream(), inside),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            is_public = false;
        }
    }

    fn attribute(&mut self, tokens: &mut Tokens, inside: &Path) {
        tokens.next_if(|next| is_punct(next, '!'));
        let Some(TokenTree::Group(attribute)) = tokens.next() else {
            return;
        };
        if is_for_tests(&attribute) {
            self.test_modules.extend(skip_item(tokens));
        } else {
            self.collect(attribute.stream(), inside);
        }
    }

    /// What follows `mod`: a name with braces, or with a semicolon, which says nothing here.
    fn module(&mut self, tokens: &mut Tokens, inside: &Path) {
        let Some(TokenTree::Ident(name)) = tokens.next() else {
            return;
        };
        if let Some(TokenTree::Group(body)) = tokens.next_if(|next| matches!(next, TokenTree::Group(_))) {
            let mut inside = inside.clone();
            inside.push(name.to_string());
            self.collect(body.stream(), &inside);
        }
    }

    /// What follows `use`, or one branch of it.
    fn import(&mut self, tokens: &mut Tokens, prefix: &Path, is_public: bool, inside: &Path) {
        let mut path = prefix.clone();
        let mut name = None;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    name = tokens.next().map(|name| name.to_string());
                }
                TokenTree::Ident(word) => path.push(plain(&word.to_string())),
                TokenTree::Group(branches) => {
                    let mut branches = branches.stream().into_iter().peekable();
                    while branches.peek().is_some() {
                        self.import(&mut branches, &path, is_public, inside);
                    }
                    path.clear();
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {}
                TokenTree::Punct(punct) if punct.as_char() == '*' => path.push("*".to_owned()),
                // The end of the statement, or of the branch.
                _ => break,
            }
        }
        // `{self}` imports the module before the braces.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(last) = path.last() {
            let name = name.unwrap_or_else(|| last.clone());
            self.imports.push(Import {
                name,
                path,
                is_public,
                inside: inside.clone(),
            });
        }
    }

    /// A name, perhaps the first of a path.
    fn name(&mut self, first: &str, tokens: &mut Tokens, inside: &Path) {
        let mut path = vec![plain(first)];
        while tokens.next_if(|next| is_punct(next, ':')).is_some() {
            // One colon is no path.
            if tokens.next_if(|next| is_punct(next, ':')).is_none() {
                break;
            }
            match tokens.next_if(|next| matches!(next, TokenTree::Ident(_))) {
                Some(word) => path.push(plain(&word.to_string())),
                None => break,
            }
        }
        *self.uses.entry(path[0].clone()).or_default() += 1;
        if path.len() > 1 {
            self.named.push((path, inside.clone()));
        }
    }
}

fn plain(word: &str) -> String {
    word.trim_start_matches("r#").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.split("::").map(str::to_owned).collect()
    }

    #[test]
    fn imports_are_taken_apart() {
        let text = "use a::b;\npub(crate) use self::c::{self, d::E as F, *};\nmod m { use super::G; }";
        let found = read(text).unwrap().imports;
        let found: Vec<_> = found
            .iter()
            .map(|import| {
                (
                    import.name.as_str(),
                    import.path.join("::"),
                    import.is_public,
                    import.inside.len(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("b", "a::b".to_owned(), false, 0),
                ("c", "self::c".to_owned(), true, 0),
                ("F", "self::c::d::E".to_owned(), true, 0),
                ("*", "self::c::*".to_owned(), true, 0),
                ("G", "super::G".to_owned(), false, 1),
            ]
        );
    }

    #[test]
    fn inline_paths_count_and_tests_do_not() {
        let text = "fn f(x: a::B) { x.c::<D>(); 0..crate::e::f(::g::h); }\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod t { use super::*; }";
        let found = read(text).unwrap();
        let named: Vec<_> = found.named.into_iter().map(|(path, _)| path).collect();
        assert_eq!(named, [path("a::B"), path("crate::e::f"), path("g::h")]);
        assert_eq!(found.test_modules, ["tests"]);
        assert!(found.imports.is_empty());
    }
}
