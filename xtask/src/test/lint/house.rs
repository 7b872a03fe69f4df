//! Rules of this repository that no compiler knows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A file has at most this many lines.
const FILE_LINES: usize = 500;

/// No test carries `#[ignore]`.
pub(super) fn no_ignored_test(sources: &[PathBuf]) -> Result<()> {
    offenders(sources, "an ignored test", |text| {
        text.lines().any(|line| line.trim_start().starts_with("#[ignore"))
    })
}

/// Files are short.
pub(super) fn short_files(sources: &[PathBuf]) -> Result<()> {
    offenders(sources, &format!("more than {FILE_LINES} lines"), |text| {
        text.lines().count() > FILE_LINES
    })
}

fn offenders(sources: &[PathBuf], what: &str, bad: impl Fn(&str) -> bool) -> Result<()> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let mut found = Vec::new();
    for path in sources {
        if bad(&read(path)?) {
            found.push(path.display().to_string());
        }
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
        let folder = std::env::temp_dir().join(format!("wsc-lint-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (good, bad) = (folder.join("good.rs"), folder.join("bad.rs"));
        fs::write(&good, "// no #[ignore] here\n").unwrap();
        fs::write(&bad, "    #[ignore = \"slow\"]\n    fn a() {}\n").unwrap();
        assert!(no_ignored_test(std::slice::from_ref(&good)).is_ok());
        let err = no_ignored_test(&[good, bad.clone()]).unwrap_err().to_string();
        assert!(err.contains("bad.rs") && !err.contains("good.rs"), "{err}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
