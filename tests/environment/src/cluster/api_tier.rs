//! The API tier: etcd, API server and controller manager without nodes, in namespaces of their own,
//! for one run of a test suite.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::handle::PROXY_VARIABLES;
use super::processes::{self, Tree};
use super::stop::END;
use crate::cache::Cache;
use crate::kubernetes::Programs;
use crate::process::{eventually, tail};
use crate::{machine, repository};

/// How long it may take to answer on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// The folder of a tier, with the id of the process that started it after it.
const NAME: &str = "api-tier-";

/// A running API tier; it ends with this value.
pub struct ApiTier {
    root: Child,
    init: i32,
    state: PathBuf,
}

impl ApiTier {
    pub fn start(cache: &Cache, programs: &Programs) -> Result<Self> {
        machine::need_root("the API tier")?;
        remove_left(cache)?;
        let state = cache.path(format!("{NAME}{}", std::process::id()));
        fs::create_dir_all(&state)?;
        let log = File::create(state.join("init.log"))?;
        let script = repository::path("tests/environment/kubernetes/api-tier.sh");
        let root = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--propagation",
                "private",
            ])
            .arg(&script)
            .env("STATE", &state)
            .env("BIN", &programs.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting unshare")?;
        let mut tier = Self { root, init: 0, state };
        let parent = i32::try_from(tier.root.id())?;
        tier.init = eventually(LIMIT, "process 1 of the API tier", || {
            Tree::read()
                .below(parent)
                .into_iter()
                .find(|&pid| processes::is_first_of_namespace(pid))
        })?;
        let ready = tier.state.join("ready");
        if let Err(err) = eventually(LIMIT, "the API tier", || ready.exists().then_some(())) {
            bail!(
                "{err}:\n{}\n{}",
                tail(&tier.state.join("init.log")),
                tail(&tier.state.join("log/apiserver"))
            );
        }
        Ok(tier)
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("pki/admin.kubeconfig")
    }

    /// A command in the tier's network namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.init))
            .arg(program);
        for variable in PROXY_VARIABLES {
            command.env_remove(variable);
        }
        command
    }
}

impl Drop for ApiTier {
    fn drop(&mut self) {
        // unshare's --kill-child ends process 1 of the namespace, and with it all the others.
        let _ = self.root.kill();
        let _ = self.root.wait();
        let init = self.init;
        let _ = eventually(END, "the end of the API tier", || {
            (!processes::alive(init)).then_some(())
        });
        let _ = fs::remove_dir_all(&self.state);
    }
}

/// Removes the folders of runs that were killed before they could do it; their processes ended with
/// them.
fn remove_left(cache: &Cache) -> Result<()> {
    for entry in fs::read_dir(cache.path(""))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let starter = name.strip_prefix(NAME).and_then(|pid| pid.parse().ok());
        if starter.is_some_and(|pid| !processes::alive(pid)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
