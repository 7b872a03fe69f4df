//! Finds Rust files that no `mod` reaches: the compiler does not see them, and nobody notices.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use wsc_environment::process::output;
use wsc_environment::repository;

/// The file of a module, and the folder in which its own modules are.
pub(super) struct Child {
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) folder: PathBuf,
}

/// An error lists the files of `sources` that belong to no module of the packages that these
/// manifests stand for.
pub(super) fn check(sources: &[PathBuf], manifests: &[String]) -> Result<()> {
    let reached = reached(&roots(manifests)?)?;
    let orphans: Vec<String> = sources
        .iter()
        .filter(|path| !reached.contains(*path))
        .map(|path| path.display().to_string())
        .collect();
    if !orphans.is_empty() {
        bail!("in no module:\n{}", orphans.join("\n"));
    }
    Ok(())
}

/// The root files of all targets of the workspaces that these manifests stand for.
pub(super) fn roots(manifests: &[String]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for manifest in manifests {
        let mut cargo = repository::cargo();
        cargo.args(["metadata", "--no-deps", "--format-version=1", "--locked"]);
        cargo.args(["--manifest-path", manifest]);
        all.extend(targets(&serde_json::from_str(&output(&mut cargo)?)?));
    }
    Ok(all)
}

fn targets(metadata: &Value) -> Vec<PathBuf> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]).into_iter();
    let targets = packages.flat_map(|package| list(&package["targets"]));
    targets
        .filter_map(|target| target["src_path"].as_str().map(PathBuf::from))
        .collect()
}

fn reached(roots: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut left: Vec<(PathBuf, PathBuf)> = roots
        .iter()
        .filter_map(|root| Some((root.clone(), root.parent()?.to_path_buf())))
        .collect();
    while let Some((file, folder)) = left.pop() {
        if !found.insert(file.clone()) {
            continue;
        }
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let children = children(&text, &file, &folder).into_iter();
        left.extend(children.map(|child| (child.file, child.folder)));
    }
    Ok(found)
}

/// The modules that a file names and that have files of their own, in this folder unless it says
/// otherwise.
pub(super) fn children(text: &str, file: &Path, folder: &Path) -> Vec<Child> {
    let mut found = Vec::new();
    for module in modules(text) {
        let below = folder.join(&module.name);
        let candidates = match &module.path {
            // Relative to the folder of the file that says it.
            Some(path) => vec![file.parent().unwrap_or(Path::new("/")).join(path)],
            None => vec![folder.join(format!("{}.rs", module.name)), below.join("mod.rs")],
        };
        if let Some(file) = candidates.into_iter().find(|path| path.exists()) {
            found.push(Child {
                name: module.name,
                file,
                folder: below,
            });
        }
    }
    found
}

#[derive(Debug, PartialEq)]
struct Module {
    name: String,
    path: Option<String>,
}

/// The `mod name;` lines of a file, each with the `#[path]` above it.
fn modules(text: &str) -> Vec<Module> {
    let mut found = Vec::new();
    let mut path = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            path = rest.split('"').next().map(str::to_owned);
            continue;
        }
        let words: Vec<&str> = line.trim_end_matches(';').split_whitespace().collect();
        if let [.., "mod", name] = words[..]
            && line.ends_with(';')
            && (words.len() == 2 || words[0].starts_with("pub"))
        {
            found.push(Module {
                name: name.trim_start_matches("r#").to_owned(),
                path: path.take(),
            });
        }
        if !line.starts_with("#[") {
            path = None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_however_they_are_said() {
        let text = "mod a;\npub mod b;\npub(crate) mod r#gen;\n#[path = \"x/y.rs\"]\nmod c;\n// mod d;\nmod e { fn f() {} }\nlet g = 1;\n";
        let names: Vec<_> = modules(text)
            .into_iter()
            .map(|module| (module.name, module.path))
            .collect();
        let plain = |name: &str| (name.to_owned(), None);
        assert_eq!(
            names,
            [
                plain("a"),
                plain("b"),
                plain("gen"),
                ("c".to_owned(), Some("x/y.rs".to_owned()))
            ]
        );
    }

    #[test]
    fn unnamed_file_is_not_reached() {
        let folder = std::env::temp_dir().join(format!("wsc-modules-{}", std::process::id()));
        fs::create_dir_all(folder.join("a")).unwrap();
        for (file, text) in [
            ("lib.rs", "mod a;\nmod c;"),
            ("a.rs", "mod b;"),
            ("a/b.rs", ""),
            ("c.rs", ""),
            ("d.rs", ""),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        let reached = reached(&[folder.join("lib.rs")]).unwrap();
        let names: Vec<_> = reached
            .iter()
            .map(|path| path.strip_prefix(&folder).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["a/b.rs", "a.rs", "c.rs", "lib.rs"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
