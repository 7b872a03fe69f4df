//! Builds programs out of a Go module.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::{followed, output};
use crate::steps::Progress;

/// What is built of a module.
pub(crate) struct Build<'a> {
    /// The folder of `go.mod`.
    pub(crate) module: &'a Path,
    /// `-tags`, `-ldflags` and the like.
    pub(crate) flags: &'a [&'a str],
    pub(crate) packages: &'a [&'a str],
    /// A folder for several programs, the file for one.
    pub(crate) to: &'a Path,
    pub(crate) log: &'a Path,
}

impl Build<'_> {
    /// Builds and reports the package that the compiler is at.
    pub(crate) fn run(&self, progress: &Progress) -> Result<()> {
        progress.set("go list".to_owned());
        let listed = output(
            self.go()
                .args(["list", "-deps"])
                .args(self.flags)
                .args(self.packages),
        )?;
        let all = listed.lines().count();
        let mut done = 0;
        let mut build = self.go();
        build
            .args(["build", "-v"])
            .args(self.flags)
            .arg("-o")
            .arg(self.to);
        followed(build.args(self.packages), self.log, |line| {
            if line.starts_with("go: downloading ") {
                progress.set(line.to_owned());
            } else if is_package(line) {
                done += 1;
                // What Go's own cache holds is not printed.
                progress.set(format!("package {done} of at most {all}: {line}"));
            } else {
                return false;
            }
            true
        })?;
        Ok(())
    }

    fn go(&self) -> Command {
        let mut go = Command::new("go");
        go.current_dir(self.module)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly")
            // The compiler collects its garbage less often, which is faster where there is memory.
            .env("GOGC", "400");
        go
    }
}

/// A line of `go build -v` is an import path; all else is said about errors.
fn is_package(line: &str) -> bool {
    !line.starts_with('#') && !line.is_empty() && !line.contains([' ', '\t', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_told_from_errors() {
        for package in ["internal/abi", "k8s.io/api/core/v1", "command-line-arguments"] {
            assert!(is_package(package), "{package}");
        }
        for error in [
            "# k8s.io/api",
            "./main.go:3:1: syntax error",
            "\tno required module",
            "",
        ] {
            assert!(!is_package(error), "{error}");
        }
    }
}
