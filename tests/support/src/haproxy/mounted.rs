//! The mounted `ConfigMap`, changed as the kubelet does it: both files at once, by turning a link.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Keys of the `ConfigMap`.
const FILES: [&str; 3] = ["haproxy.cfg", "backends.json", "settings.json"];

/// The folder of the mount.
#[derive(Debug)]
pub(super) struct Mounted {
    folder: PathBuf,
    generation: u32,
}

impl Mounted {
    pub(super) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).context("folder of the mount")?;
        for file in FILES {
            symlink(Path::new("..data").join(file), folder.join(file))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            generation: 0,
        })
    }

    /// Operators before release 0.2.0 publish no settings.
    pub(super) fn write(&mut self, text: &str, json: &str, settings: Option<&str>) -> Result<()> {
        self.generation += 1;
        let name = format!("..{}", self.generation);
        let generation = self.folder.join(&name);
        fs::create_dir(&generation)?;
        for (file, content) in FILES.iter().zip([Some(text), Some(json), settings]) {
            if let Some(content) = content {
                fs::write(generation.join(file), content)?;
            }
        }
        let turned = self.folder.join("..data_tmp");
        symlink(&name, &turned)?;
        fs::rename(&turned, self.folder.join("..data")).context("turn the link")
    }
}
