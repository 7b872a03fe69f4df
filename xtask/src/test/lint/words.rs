//! Words that are wrong wherever a user reads them: `xtask/banned-words.tsv`, each with its
//! replacement (docs/style.md).
//!
//! Read are documents, the CRD and the chart as they are; of Rust sources the string literals
//! (conditions, events, logs, errors, metric help) and, where clap is used, the `///` comments
//! (`--help`). Code under `#[cfg(test)]` is not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use source::Passage;
use wsc_environment::process::output;
use wsc_environment::repository;

mod source;

const LIST: &str = "xtask/banned-words.tsv";

/// Files of these are read whole, and every Markdown file.
const DOCUMENTS: [&str; 3] = ["docs/", "crds/", "charts/"];

/// Of files of these, the texts that the programs show.
const SOURCES: [&str; 9] = [
    "operator/",
    "server/src/",
    "xtask/",
    "tests/bench/",
    "tests/demo/",
    "tests/environment/",
    "tests/fleet/",
    "tests/sim/",
    "tests/support/",
];

/// A word of the list, or several that follow each other.
struct Banned {
    words: Vec<String>,
    replacement: String,
}

/// An error lists file, line, word and replacement of each banned word.
pub(super) fn check() -> Result<()> {
    let root = repository::root();
    let banned = parse(&fs::read_to_string(root.join(LIST)).with_context(|| format!("reading {LIST}"))?)?;
    let found = find(&root, &files(&root)?, &banned)?;
    if !found.is_empty() {
        bail!("banned words, each with its replacement:\n{}", found.join("\n"));
    }
    Ok(())
}

/// All files that git tracks or would add, relative to the root.
fn files(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root)
        .args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let exists = |name: &&str| root.join(name).is_file();
    Ok(output(&mut git)?
        .lines()
        .filter(exists)
        .map(str::to_owned)
        .collect())
}

/// `word<TAB>replacement` in each line.
fn parse(text: &str) -> Result<Vec<Banned>> {
    let lines = text.lines().map(|line| {
        let (words, replacement) = line
            .split_once('\t')
            .ok_or_else(|| anyhow!("{LIST}: `{line}` is not `word<TAB>replacement`"))?;
        Ok(Banned {
            words: words.split(' ').map(str::to_lowercase).collect(),
            replacement: replacement.to_owned(),
        })
    });
    lines.collect()
}

fn find(root: &Path, files: &[String], banned: &[Banned]) -> Result<Vec<String>> {
    let is_a = |name: &str, kind: &str| {
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == kind)
    };
    let is_below = |name: &str, folders: &[&str]| folders.iter().any(|folder| name.starts_with(folder));
    let read = |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("reading {name}"));
    let (mut passages, mut tests) = (Vec::new(), BTreeSet::new());
    for name in files {
        if is_below(name, &DOCUMENTS) || is_a(name, "md") {
            let text = read(name)?;
            passages.push((name, vec![Passage { line: 1, text }]));
        } else if is_below(name, &SOURCES) && name.contains("src/") && is_a(name, "rs") {
            let source = source::read(&read(name)?).map_err(|err| anyhow!("{name}: {err}"))?;
            let folder = module_folder(Path::new(name));
            tests.extend(source.test_modules.iter().map(|module| folder.join(module)));
            passages.push((name, source.passages));
        }
    }
    let is_test = |name: &str| {
        Path::new(name)
            .with_extension("")
            .ancestors()
            .any(|path| tests.contains(path))
    };
    let product = passages.iter().filter(|(name, _)| !is_test(name));
    Ok(product
        .flat_map(|(name, passages)| {
            let hits = passages.iter().flat_map(|passage| hits(passage, banned));
            hits.map(move |(line, banned)| {
                format!(
                    "{name}:{line}: {} -> {}",
                    banned.words.join(" "),
                    banned.replacement
                )
            })
        })
        .collect())
}

/// The folder in which the modules of a file lie.
fn module_folder(file: &Path) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default();
    let folder = file.parent().unwrap_or(Path::new(""));
    if ["lib", "main", "mod"].iter().any(|root| stem == *root) {
        folder.to_path_buf()
    } else {
        folder.join(stem)
    }
}

/// Where a passage has banned words: whole words in any case, those of a phrase with nothing but
/// space between.
fn hits<'a>(passage: &Passage, banned: &'a [Banned]) -> Vec<(usize, &'a Banned)> {
    let words = words(passage);
    let mut found = Vec::new();
    for (at, (line, ..)) in words.iter().enumerate() {
        found.extend(
            banned
                .iter()
                .filter(|banned| begins_with(&words[at..], &banned.words))
                .map(|banned| (*line, banned)),
        );
    }
    found
}

fn begins_with(words: &[(usize, String, bool)], phrase: &[String]) -> bool {
    words.len() >= phrase.len()
        && phrase
            .iter()
            .zip(words)
            .enumerate()
            .all(|(nth, (wanted, (_, word, adjoins)))| word == wanted && (nth == 0 || *adjoins))
}

/// The words of a passage in lower case, with their lines, and whether only space is before them.
fn words(passage: &Passage) -> Vec<(usize, String, bool)> {
    let (mut found, mut word, mut line, mut adjoins) = (Vec::new(), String::new(), passage.line, true);
    let mut letters = passage.text.chars().chain([' ']).peekable();
    while let Some(letter) = letters.next() {
        // `snake_case` is one word, `_emphasis_` is none but its word.
        let joins =
            letter == '_' && !word.is_empty() && letters.peek().is_some_and(|next| next.is_alphanumeric());
        if letter.is_alphanumeric() || joins {
            word.extend(letter.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            found.push((line, std::mem::take(&mut word), adjoins));
            adjoins = true;
        }
        adjoins &= letter.is_whitespace() || matches!(letter, '*' | '_' | '-');
        line += usize::from(letter == '\n');
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "nobody\tno client\ngoes on\tcontinues\n";

    /// What is found in these files.
    fn found(name: &str, files: &[(&str, &str)]) -> Vec<String> {
        let root = std::env::temp_dir().join(format!("wsc-words-{name}-{}", std::process::id()));
        for (file, text) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let files: Vec<String> = files.iter().map(|(file, _)| (*file).to_owned()).collect();
        let found = find(&root, &files, &parse(WORDS).unwrap());
        fs::remove_dir_all(&root).unwrap();
        found.unwrap()
    }

    #[test]
    fn planted_words_are_found_in_documents() {
        let text = "# A\n\nNobody is here; it goes\non. Nobodys, it_goes on, goes, on.\n";
        let wanted = [
            "docs/a.md:3: nobody -> no client",
            "docs/a.md:3: goes on -> continues",
        ];
        assert_eq!(
            found("documents", &[("docs/a.md", text), ("LICENSE", text)]),
            wanted
        );
    }

    #[test]
    fn planted_words_are_found_in_shown_texts() {
        let text = "//! nobody\nuse clap::Args;\n/// It goes\n/// on.\nstruct A;\n// nobody\n\
            fn f() { info!(a = 1, \"\\nnobody\"); }\n#[error(\"nobody\")]\nenum E {}\n";
        let wanted = [
            "server/src/a.rs:3: goes on -> continues",
            "server/src/a.rs:7: nobody -> no client",
            "server/src/a.rs:8: nobody -> no client",
        ];
        assert_eq!(found("sources", &[("server/src/a.rs", text)]), wanted);
        let without_clap = text.replace("clap", "serde");
        assert_eq!(
            found("comments", &[("server/src/a.rs", &without_clap)]),
            wanted[1..]
        );
    }

    #[test]
    fn markdown_and_test_support_are_read() {
        let files = [
            ("tests/releases/README.md", "nobody"),
            ("NOTES.md", "nobody"),
            ("tests/support/src/a.rs", "const A: &str = \"nobody\";"),
        ];
        let wanted = [
            "tests/releases/README.md:1: nobody -> no client",
            "NOTES.md:1: nobody -> no client",
            "tests/support/src/a.rs:1: nobody -> no client",
        ];
        assert_eq!(found("everywhere", &files), wanted);
    }

    #[test]
    fn emphasis_and_hyphens_are_space() {
        for text in [
            "goes **on**",
            "*goes* on",
            "_goes_ on",
            "goes-on",
            "goes\r\non",
            "goes\t*on*",
        ] {
            let hit = found("emphasis", &[("docs/a.md", text)]);
            assert_eq!(hit.len(), 1, "{text:?}: {hit:?}");
        }
        assert_eq!(
            found("emphasis", &[("docs/a.md", "_nobody_ is __nobody__")]).len(),
            2
        );
        assert_eq!(
            found("emphasis", &[("docs/a.md", "`nobody_is` goes; on")]),
            [""; 0]
        );
    }

    #[test]
    fn escapes_are_space() {
        let text = r#"const A: [&str; 6] = ["\tnobody", "\rnobody", "\\nobody", "\"nobody\"", "goes\ton", "goes \
            on"];"#;
        assert_eq!(found("escapes", &[("server/src/a.rs", text)]).len(), 6);
        let continued = "const A: &str = \"one \\\n two\n nobody\";";
        assert_eq!(
            found("escapes", &[("server/src/a.rs", continued)]),
            ["server/src/a.rs:3: nobody -> no client"]
        );
    }

    #[test]
    fn a_test_arm_ends_at_its_comma() {
        let text = "fn f(a: A) -> &'static str { match a { #[cfg(test)] A::B => \"nobody\", A::C => \"goes on\" } }\n\
            struct S { #[cfg(test)] a: Map<A, B>, b: u8 }\n\
            #[cfg(test)] fn g<A, B>() -> Map<A, B> where A: C, B: C { h(\"nobody\") }\n";
        assert_eq!(
            found("arms", &[("server/src/a.rs", text)]),
            ["server/src/a.rs:1: goes on -> continues"]
        );
    }

    #[test]
    fn tests_are_not_read() {
        let root = "#[cfg(test)]\nmod t;\n#[cfg(test)]\nfn f<A, B>() { g(\"nobody\") }\nconst A: &str = \"nobody\";\n";
        let (test, inner) = ("#[test]\nfn g() { \"nobody\"; }\n", "const B: &str = \"nobody\";");
        let files = [
            ("server/src/lib.rs", root),
            ("server/src/t.rs", test),
            ("server/src/t/u.rs", inner),
            ("server/src/v.rs", inner),
            ("operator/new/tests/v.rs", inner),
        ];
        let wanted = [
            "server/src/lib.rs:5: nobody -> no client",
            "server/src/v.rs:1: nobody -> no client",
        ];
        assert_eq!(found("tests", &files), wanted);
    }

    #[test]
    fn a_word_without_replacement_is_refused() {
        assert!(parse("nobody\n").is_err());
    }
}
