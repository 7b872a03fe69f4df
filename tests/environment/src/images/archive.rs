//! Reads a docker archive: what is in an image, without running it.

use std::fs::File;
use std::io::{Read, copy, sink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tar::Archive as Tar;

/// Permission bits: any execute bit; set-user-id and set-group-id.
const EXECUTE: u32 = 0o111;
const SET_ID: u32 = 0o6000;

/// An image as a file.
pub(super) struct Archive {
    path: PathBuf,
    config: Value,
    layers: Vec<String>,
}

/// A regular file in a layer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) mode: u32,
    /// Without a slash at the beginning.
    pub(super) path: String,
}

impl Entry {
    pub(super) fn is_program(&self) -> bool {
        self.mode & EXECUTE != 0
    }

    /// Runs with the rights of its owner or group instead of those of the caller.
    pub(super) fn changes_user(&self) -> bool {
        self.mode & SET_ID != 0
    }
}

impl Archive {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let manifest = json(&path, "manifest.json")?;
        let name = manifest[0]["Config"]
            .as_str()
            .context("the manifest names no configuration")?;
        let config = json(&path, name)?;
        let layers = manifest[0]["Layers"]
            .as_array()
            .context("the manifest names no layers")?;
        let layers = layers.iter().filter_map(Value::as_str).map(str::to_owned);
        Ok(Self {
            layers: layers.collect(),
            config,
            path,
        })
    }

    /// Empty when there is no such label.
    pub(super) fn label(&self, key: &str) -> &str {
        self.text(&["config", "Labels", key])
    }

    /// `99:99`.
    pub(super) fn user(&self) -> &str {
        self.text(&["config", "User"])
    }

    pub(super) fn stop_signal(&self) -> &str {
        self.text(&["config", "StopSignal"])
    }

    fn text(&self, path: &[&str]) -> &str {
        let value = path.iter().fold(&self.config, |value, part| &value[*part]);
        value.as_str().unwrap_or_default()
    }

    /// The files of all layers.
    pub(super) fn entries(&self) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        for layer in &self.layers {
            let read = |layer: &mut dyn Read| {
                for entry in Tar::new(layer).entries()? {
                    let entry = entry?;
                    if entry.header().entry_type().is_file() {
                        let path = entry.path()?.to_string_lossy().into_owned();
                        found.push(Entry {
                            mode: entry.header().mode()?,
                            path: path.trim_start_matches("./").to_owned(),
                        });
                    }
                }
                Ok(())
            };
            member(&self.path, layer, read)?;
        }
        Ok(found)
    }

    /// The bytes of the archive after compression, as a registry holds it.
    pub(super) fn compressed_bytes(&self) -> Result<u64> {
        let mut gzip = Command::new("gzip")
            .arg("-c")
            .arg(&self.path)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting gzip")?;
        let mut out = gzip.stdout.take().context("gzip has no output")?;
        let bytes = copy(&mut out, &mut sink())?;
        ensure!(gzip.wait()?.success(), "gzip failed on {}", self.path.display());
        Ok(bytes)
    }
}

fn json(archive: &Path, name: &str) -> Result<Value> {
    member(archive, name, |file| Ok(serde_json::from_reader(file)?))
}

/// What `read` makes of the file of this name.
fn member<T>(archive: &Path, name: &str, read: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
    let context = || format!("{name} in {}", archive.display());
    let file = File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
    for entry in Tar::new(file).entries().with_context(context)? {
        let mut entry = entry.with_context(context)?;
        if entry.path()?.to_str() == Some(name) {
            return read(&mut entry).with_context(context);
        }
    }
    Err(anyhow::anyhow!("no such file")).with_context(context)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pack(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, mode, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(*mode);
            tar.append_data(&mut header, path, *content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn archive_shows_layers_and_configuration() {
        let config = br#"{"config":{"User":"99:99","Labels":{"a.b":"c"}}}"#;
        let manifest = br#"[{"Config":"config.json","Layers":["1.tar","2.tar"]}]"#;
        let (one, two) = (
            pack(&[("./usr/bin/one", 0o755, b"1"), ("etc/passwd", 0o644, b"")]),
            pack(&[("usr/bin/su", 0o4755, b"2")]),
        );
        let image = pack(&[
            ("1.tar", 0o644, &one),
            ("2.tar", 0o644, &two),
            ("config.json", 0o644, config),
            ("manifest.json", 0o644, manifest),
        ]);
        let file = std::env::temp_dir().join(format!("wsc-archive-{}.tar", std::process::id()));
        fs::write(&file, image).unwrap();
        let archive = Archive::open(file.clone()).unwrap();
        let entries = archive.entries().unwrap();
        let seen: Vec<(&str, bool, bool)> = entries
            .iter()
            .map(|entry| (&*entry.path, entry.is_program(), entry.changes_user()))
            .collect();
        let expected = [
            ("usr/bin/one", true, false),
            ("etc/passwd", false, false),
            ("usr/bin/su", true, true),
        ];
        assert_eq!(seen, expected);
        assert_eq!((archive.user(), archive.label("a.b")), ("99:99", "c"));
        assert_eq!((archive.stop_signal(), archive.label("a")), ("", ""));
        assert!(archive.compressed_bytes().unwrap() > 0);
        fs::remove_file(file).unwrap();
    }
}
