//! What an image is made from: layers, labels, and the key of both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::image::Image;
use super::labels;
use crate::buildah::{self, Build};
use crate::cache::{Cache, Key};
use crate::debian::{Debian, Tree};
use crate::process::output;
use crate::repository;
use crate::steps::Steps;

/// The layer that all images share.
pub(super) struct Base {
    tree: Tree,
    dockerfile: PathBuf,
    pub(super) reference: String,
}

impl Base {
    pub(super) fn new(debian: &Debian) -> Result<Self> {
        let tree = debian.base()?;
        let dockerfile = repository::path("images/base.Dockerfile");
        let key = tree.key().file(&dockerfile)?.finish();
        Ok(Self {
            tree,
            dockerfile,
            reference: format!("localhost/wsc-base:{key}"),
        })
    }

    pub(super) fn provide(&self, cache: &Cache, steps: &Steps) -> Result<()> {
        if buildah::has(cache, &self.reference) {
            return Ok(());
        }
        let build = Build {
            image: &self.reference,
            dockerfile: &self.dockerfile,
            context: &self.tree.files,
            base: None,
            labels: &[],
        };
        steps.run(&format!("image {}", self.reference), || build.run(cache))
    }
}

/// All that an image is made from.
pub(super) struct Recipe<'a> {
    image: &'a Image,
    dockerfile: PathBuf,
    program: Option<&'a Path>,
    tree: Option<Tree>,
    labels: Vec<labels::Label>,
    /// Names the content.
    pub(super) key: String,
}

impl<'a> Recipe<'a> {
    pub(super) fn new(
        image: &'a Image,
        program: Option<&'a Path>,
        base: &Base,
        tree: Option<Tree>,
    ) -> Result<Self> {
        let dockerfile = repository::path(&format!("images/{}.Dockerfile", image.name));
        let mut packages = base.tree.packages.clone();
        let mut key = Key::default().text(&base.reference).file(&dockerfile)?;
        if let Some(tree) = &tree {
            packages.extend(tree.packages.iter().cloned());
            key = key.text(&tree.key().finish());
        }
        if let Some(program) = program {
            key = key.file(program)?;
        }
        let labels = labels::of_content(image, &packages);
        for (label, value) in &labels {
            key = key.text(label).text(value);
        }
        Ok(Self {
            image,
            dockerfile,
            program,
            tree,
            labels,
            key: key.finish(),
        })
    }

    pub(super) fn build(&self, cache: &Cache, base: &Base, reference: &str) -> Result<()> {
        let context = buildah::scratch(cache, self.image.name)?;
        if let Some((name, path)) = self.image.program.zip(self.program) {
            fs::copy(path, context.join(name))?;
        }
        if let Some(tree) = &self.tree {
            output(
                Command::new("cp")
                    .arg("-a")
                    .arg(&tree.files)
                    .arg(context.join("root")),
            )?;
        }
        let mut labels = self.labels.clone();
        labels.push(labels::of_revision()?);
        let build = Build {
            image: reference,
            dockerfile: &self.dockerfile,
            context: &context,
            base: Some(&base.reference),
            labels: &labels,
        };
        build.run(cache)
    }
}
