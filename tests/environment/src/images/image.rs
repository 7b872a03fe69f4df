//! Which images there are, and what the current ones are named.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::cache::Cache;

/// An image and what is in it.
pub(super) struct Image {
    pub(super) name: &'static str,
    /// The program of this repository in it.
    pub(super) program: Option<&'static str>,
    pub(super) description: &'static str,
    /// Of what is in it above the base, as an SPDX expression.
    pub(super) licenses: &'static str,
}

pub(super) const IMAGES: [Image; 4] = [
    Image {
        name: "operator",
        program: Some("wsc-operator"),
        description: "Kubernetes operator for pools of WebSocket servers",
        licenses: "Apache-2.0",
    },
    Image {
        name: "proxy",
        program: Some("wsc-proxy-agent"),
        description: "HAProxy of Debian 13 and the agent that configures it",
        licenses: "Apache-2.0 AND GPL-2.0-or-later AND LGPL-2.1-only AND BSD-3-Clause AND BSD-2-Clause AND MIT AND Zlib",
    },
    Image {
        name: "server",
        program: Some("wsc-server"),
        description: "WebSocket server with rooms and broadcasts over Redis",
        licenses: "Apache-2.0",
    },
    Image {
        name: "redis",
        program: None,
        description: "Redis of Debian 13 for broadcasts",
        licenses: "AGPL-3.0-only AND Apache-2.0 AND BSD-3-Clause AND BSD-2-Clause AND Zlib",
    },
];

/// The current images by name: what their content is named by.
pub struct Images(pub(super) BTreeMap<String, String>);

impl Images {
    /// A second name of the server's image, for a change of the image on the cluster.
    pub fn server_again(&self) -> String {
        format!("{}-again", self.reference("server"))
    }

    /// `localhost/wsc-server:0123456789ab`.
    pub fn reference(&self, name: &str) -> String {
        format!(
            "localhost/wsc-{name}:{}",
            self.0.get(name).map_or("", String::as_str)
        )
    }
}

/// What the last build on this machine named the images.
pub(crate) fn last(cache: &Cache) -> Option<Images> {
    let text = fs::read(cache.path("images/current.json")).ok()?;
    serde_json::from_slice(&text).ok().map(Images)
}

pub(super) fn archive_path(cache: &Cache, images: &Images, name: &str) -> PathBuf {
    cache.path(archive_name(images, name))
}

pub(super) fn archive_name(images: &Images, name: &str) -> String {
    format!(
        "images/{name}-{}.tar",
        images.0.get(name).map_or("", String::as_str)
    )
}
