//! The files of one crate and which of them imports which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::paths::{self, Import, Paths};
use crate::test::lint::modules;

/// A re-export of a re-export is followed this often.
const REEXPORTS: usize = 8;

type Module = Vec<String>;

/// One file and the module that it holds.
struct File {
    path: PathBuf,
    paths: Paths,
}

/// The modules of a crate, by their path in it; the root's is empty.
pub(super) struct Graph(BTreeMap<Module, File>);

impl Graph {
    /// The files that the root file of a crate reaches, without those for tests only.
    pub(super) fn of(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let folder = root.parent().context("a source is in a folder")?;
        let mut left = vec![(Vec::new(), root.to_path_buf(), folder.to_path_buf())];
        while let Some((module, path, folder)) = left.pop() {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let paths = paths::read(&text).with_context(|| path.display().to_string())?;
            for child in modules::children(&text, &path, &folder) {
                if !paths.test_modules.contains(&child.name) {
                    let mut below: Module = module.clone();
                    below.push(child.name);
                    left.push((below, child.file, child.folder));
                }
            }
            files.insert(module, File { path, paths });
        }
        Ok(Self(files))
    }

    /// Groups of files that all reach each other, largest first.
    pub(super) fn circles(&self) -> Vec<Vec<PathBuf>> {
        let edges: BTreeMap<&Module, BTreeSet<&Module>> = self
            .0
            .keys()
            .map(|module| (module, self.imports(module)))
            .collect();
        let reached: BTreeMap<&Module, BTreeSet<&Module>> = self
            .0
            .keys()
            .map(|module| (module, reach(module, &edges)))
            .collect();
        let mut circles: Vec<Vec<PathBuf>> = Vec::new();
        let mut placed = BTreeSet::new();
        for (module, all) in &reached {
            let circle: Vec<&Module> = all
                .iter()
                .copied()
                .filter(|other| reached[*other].contains(*module))
                .collect();
            if circle.len() > 1 && circle.iter().all(|other| placed.insert(*other)) {
                circles.push(circle.iter().map(|other| self.0[*other].path.clone()).collect());
            }
        }
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }

    /// The modules whose files the file of this module needs.
    fn imports(&self, module: &Module) -> BTreeSet<&Module> {
        let file = &self.0[module];
        let imports = file
            .paths
            .imports
            .iter()
            .filter(|import| !is_export(import, &file.paths));
        let imports = imports.map(|import| (&import.path, &import.inside));
        let named = file.paths.named.iter().map(|(path, inside)| (path, inside));
        let all = imports.chain(named);
        let mut found: BTreeSet<&Module> = all
            .filter_map(|(path, inside)| self.home(&self.absolute(module, inside, path)?, 0))
            .collect();
        found.remove(module);
        found
    }

    /// A path from the root of the crate; none when it leads out of the crate.
    fn absolute(&self, module: &Module, inside: &[String], path: &[String]) -> Option<Module> {
        let mut here: Module = module.iter().chain(inside).cloned().collect();
        let (first, mut rest) = path.split_first()?;
        match first.as_str() {
            "crate" => here.clear(),
            "self" => {}
            "super" => {
                here.pop()?;
                while let Some(("super", more)) = rest.split_first().map(|(word, more)| (word.as_str(), more))
                {
                    here.pop()?;
                    rest = more;
                }
            }
            name => {
                let child: Module = module.iter().cloned().chain([name.to_owned()]).collect();
                if !self.0.contains_key(&child) {
                    return self.through(module, inside, name, rest);
                }
                here = child;
            }
        }
        here.extend(rest.iter().cloned());
        Some(here)
    }

    /// A path whose first name is imported.
    fn through(&self, module: &Module, inside: &[String], name: &str, rest: &[String]) -> Option<Module> {
        let imports = &self.0[module].paths.imports;
        let import = imports
            .iter()
            .find(|import| import.name == name && import.inside == inside)?;
        // `use name::…` names a crate.
        if import.path.first().is_some_and(|first| first == name) {
            return None;
        }
        let mut path = self.absolute(module, inside, &import.path)?;
        path.extend(rest.iter().cloned());
        Some(path)
    }

    /// The module whose file has what the path names, also when others export it.
    fn home(&self, path: &[String], followed: usize) -> Option<&Module> {
        let length = (0..=path.len())
            .rev()
            .find(|length| self.0.contains_key(&path[..*length]))?;
        let (module, file) = self.0.get_key_value(&path[..length])?;
        let exported = path.get(length).and_then(|name| {
            let mut imports = file.paths.imports.iter();
            imports.find(|import| import.name == *name && import.inside.is_empty())
        });
        match exported {
            Some(import) if followed < REEXPORTS => {
                let mut onward = self.absolute(module, &[], &import.path)?;
                onward.extend(path[length + 1..].iter().cloned());
                self.home(&onward, followed + 1)
            }
            _ => Some(module),
        }
    }
}

/// A name that a file passes on and does not use.
fn is_export(import: &Import, paths: &Paths) -> bool {
    import.is_public && (import.name == "*" || !paths.uses.contains_key(&import.name))
}

fn reach<'a>(from: &'a Module, edges: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> BTreeSet<&'a Module> {
    let mut found = BTreeSet::new();
    let mut left = vec![from];
    while let Some(module) = left.pop() {
        for next in edges.get(module).into_iter().flatten() {
            if found.insert(*next) {
                left.push(next);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a crate with these files.
    fn circles(name: &str, files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let folder = std::env::temp_dir().join(format!("wsc-circles-{}-{name}", std::process::id()));
        for (file, text) in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // As rustfmt writes it: one item or attribute on a line.
            let text = text.replace("; ", ";\n").replace("(test)] ", "(test)]\n");
            fs::write(path, text).unwrap();
        }
        let found = Graph::of(&folder.join("lib.rs")).unwrap().circles();
        let relative = |path: PathBuf| path.strip_prefix(&folder).unwrap().display().to_string();
        let found = found
            .into_iter()
            .map(|circle| circle.into_iter().map(relative).collect())
            .collect();
        fs::remove_dir_all(&folder).unwrap();
        found
    }

    #[test]
    fn circle_is_found_in_every_spelling() {
        let a = ("a.rs", "use crate::b::B; pub struct A;");
        for (name, b) in [
            ("use", "use crate::a::A; pub struct B;"),
            ("place", "pub struct B; fn f(_: crate::a::A) {}"),
            ("super", "pub struct B; fn f(_: super::a::A) {}"),
            ("alias", "use crate::a as x; pub struct B; fn f(_: x::A) {}"),
            ("group", "use super::{a::A as Other, c}; pub struct B;"),
        ] {
            let files = [("lib.rs", "mod a; mod b; mod c;"), a, ("b.rs", b), ("c.rs", "")];
            assert_eq!(circles(name, &files), [["a.rs", "b.rs"]], "{name}");
        }
    }

    #[test]
    fn reexport_leads_to_the_defining_file() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a.rs", "mod b; mod c; pub use b::B; pub(crate) use c::C;"),
            ("a/b.rs", "use super::C; pub struct B;"),
            ("a/c.rs", "pub struct C;"),
        ];
        assert_eq!(circles("export", &files), [[""; 0]; 0]);
        let files = [
            ("lib.rs", "mod a;"),
            ("a.rs", "mod b; pub use b::B; pub struct A(B);"),
            ("a/b.rs", "use super::A; pub struct B;"),
        ];
        assert_eq!(circles("uses", &files), [["a.rs", "a/b.rs"]]);
    }

    #[test]
    fn tests_and_other_crates_make_no_circle() {
        let files = [
            ("lib.rs", "mod a; mod b; use std::fmt; fn f(_: fmt::Error) {}"),
            (
                "a.rs",
                "use crate::b::B; #[cfg(test)] mod tests { use crate::b; } #[cfg(test)] mod more;",
            ),
            ("a/more.rs", "use super::*; use crate::b::B;"),
            ("b.rs", "pub struct B; #[cfg(test)] use crate::a::A;"),
        ];
        assert_eq!(circles("tests", &files), [[""; 0]; 0]);
    }
}
