//! The Autobahn test suite, in a folder of its own: it runs on Python 2.7 only, which is nowhere
//! but in pyenv any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{Cache, Key};
use crate::process::logged;
use crate::repository;
use crate::steps::Steps;

/// What is installed.
const REQUIREMENTS: &str = "tests/environment/autobahn/requirements.txt";

/// Counts up when what is done here changes.
const RECIPE: &str = "1";

/// An interpreter and its packages.
pub struct Autobahn {
    pub python: PathBuf,
    /// To be added as a site directory: its `.pth` files count.
    pub packages: PathBuf,
}

/// The suite; installed when no run on this machine has installed it.
pub fn provide(cache: &Cache, steps: &Steps) -> Result<Autobahn> {
    let python = python().context(
        "the Autobahn test suite needs Python 2.7, where pyenv has it: run `pyenv install 2.7.18`",
    )?;
    let requirements = repository::path(REQUIREMENTS);
    let key = Key::default()
        .file(&requirements)?
        .text(&python.to_string_lossy())
        .text(RECIPE)
        .finish();
    let name = format!("autobahn-{key}");
    if !cache.path(&name).exists() {
        steps.run("the Autobahn test suite out of PyPI", || {
            cache.folder(&name, |folder| {
                let mut pip = Command::new(&python);
                pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--target"])
                    .arg(folder)
                    .arg("-r")
                    .arg(&requirements);
                logged(&mut pip, &cache.path("autobahn.log"))
            })
        })?;
    }
    Ok(Autobahn {
        python,
        packages: cache.path(&name),
    })
}

/// The newest Python 2.7 of pyenv.
fn python() -> Option<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map_or_else(
        || std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")),
        |root| Some(root.into()),
    )?;
    let versions = fs::read_dir(root.join("versions")).ok()?.flatten();
    let of_2_7 = versions.filter(|entry| entry.file_name().to_string_lossy().starts_with("2.7."));
    let mut programs: Vec<PathBuf> = of_2_7
        .map(|entry| entry.path().join("bin/python2.7"))
        .filter(|program| program.exists())
        .collect();
    programs.sort();
    programs.pop()
}
