//! Settings that HAProxy applies at run time: the client path, the server path that it maps to, and
//! the allowed origins.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use wsc_contract::origin::{OriginError, OriginPattern};
use wsc_contract::paths::{ClientPath, ClientPathError};

use crate::backend::hash;

/// Version of the published document that this build writes and reads.
const SCHEMA: u32 = 1;
/// A longer list of origins is rejected: the resource allows 64.
const ORIGINS_LIMIT: usize = 256;

/// The published settings, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    hash: String,
    path: String,
    server_path: String,
    origins: Vec<OriginPattern>,
}

/// The document in the `ConfigMap` under `settings.json`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Document {
    /// Version of the document; an agent rejects any other than its own.
    schema: u32,
    /// Hash of all other fields.
    hash: String,
    /// Path of the clients.
    path: String,
    /// Path of the servers, to which HAProxy maps that of the clients.
    server_path: String,
    /// Allowed origins in their normal form; an empty list allows only the same host.
    origins: Vec<String>,
}

/// The schema of the published document.
#[cfg(feature = "schema")]
impl schemars::JsonSchema for Settings {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Settings".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        <Document as schemars::JsonSchema>::json_schema(generator)
    }
}

/// Why published settings cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    #[error("settings.json is no settings document: {0}")]
    Json(#[from] serde_json::Error),
    #[error("settings.json has schema {0}, this agent reads {SCHEMA}")]
    Schema(u32),
    #[error("settings.json: hash is {stated}, but the content hashes to {actual}")]
    Hash { stated: String, actual: String },
    #[error("settings.json: {field} {source}")]
    Path {
        field: &'static str,
        source: ClientPathError,
    },
    #[error("settings.json: {0}")]
    Origin(#[from] OriginError),
    #[error("settings.json: {count} origins, the maximum is {ORIGINS_LIMIT}")]
    TooMany { count: usize },
}

impl Settings {
    /// `server_path` is what the servers serve under `path`.
    pub fn new(path: &str, server_path: &str, origins: Vec<OriginPattern>) -> Self {
        let document = Document::new(path, server_path, &origins);
        Self {
            hash: document.content_hash(),
            path: document.path,
            server_path: document.server_path,
            origins,
        }
    }

    /// Parses and checks a published document.
    pub fn from_json(text: &str) -> Result<Self, SettingsError> {
        let document: Document = serde_json::from_str(text)?;
        if document.schema != SCHEMA {
            return Err(SettingsError::Schema(document.schema));
        }
        if document.origins.len() > ORIGINS_LIMIT {
            let count = document.origins.len();
            return Err(SettingsError::TooMany { count });
        }
        let actual = document.content_hash();
        if document.hash != actual {
            let stated = document.hash;
            return Err(SettingsError::Hash { stated, actual });
        }
        for (field, path) in [("path", &document.path), ("serverPath", &document.server_path)] {
            let parsed = path.parse::<ClientPath>();
            parsed.map_err(|source| SettingsError::Path { field, source })?;
        }
        let origins = document.origins.iter().map(|origin| origin.parse());
        let origins = origins.collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(&document.path, &document.server_path, origins))
    }

    /// The published document.
    pub fn to_json(&self) -> String {
        let mut document = Document::new(&self.path, &self.server_path, &self.origins);
        document.hash.clone_from(&self.hash);
        // A struct of strings and numbers always serializes.
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// Hash of the content.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The path that clients use.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path that the servers serve.
    pub fn server_path(&self) -> &str {
        &self.server_path
    }

    /// Origins that may connect; empty allows only the same host.
    pub fn origins(&self) -> &[OriginPattern] {
        &self.origins
    }
}

impl Document {
    fn new(path: &str, server_path: &str, origins: &[OriginPattern]) -> Self {
        Self {
            schema: SCHEMA,
            hash: String::new(),
            path: path.to_owned(),
            server_path: server_path.to_owned(),
            origins: origins.iter().map(ToString::to_string).collect(),
        }
    }

    fn content_hash(&self) -> String {
        let origins = self.origins.join("\n");
        hash(&format!(
            "{} {} {}\n{origins}",
            self.schema, self.path, self.server_path
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let origins = ["https://example.org", "https://*.example.org:8443", "file://"];
        let origins = origins.iter().map(|origin| origin.parse().unwrap());
        Settings::new("/chat", "/ws", origins.collect())
    }

    #[test]
    fn settings_survive_serialization() {
        let read = Settings::from_json(&settings().to_json()).unwrap();
        assert_eq!(read, settings());
        assert_eq!((read.path(), read.server_path()), ("/chat", "/ws"));
        assert_ne!(read.hash(), Settings::new("/chat", "/ws", Vec::new()).hash());
        assert_ne!(
            read.hash(),
            Settings::new("/ws", "/ws", read.origins.clone()).hash()
        );
    }

    #[test]
    fn tampered_settings_are_rejected() {
        let refused = |text: String| Settings::from_json(&text).unwrap_err().to_string();
        let good = settings().to_json();
        assert!(refused(good.replace("/chat", "/talk")).contains("hash"));
        assert!(refused(good.replace("\"schema\":1", "\"schema\":2")).contains("schema 2"));
        assert!(refused("[]".to_owned()).contains("no settings document"));
        let with = |path: &str, server_path: &str| Settings::new(path, server_path, Vec::new()).to_json();
        assert!(refused(with("/a b", "/ws")).contains("path must be"));
        assert!(refused(with("/ws", "/wsc/lb")).contains("serverPath must not be /wsc"));
        let many = vec![OriginPattern::Any; ORIGINS_LIMIT + 1];
        assert!(refused(Settings::new("/ws", "/ws", many).to_json()).contains("257 origins"));
        let document = Document {
            hash: "x".to_owned(),
            origins: vec!["https://a b".to_owned()],
            ..Document::new("/ws", "/ws", &[])
        };
        let hash = document.content_hash();
        let document = serde_json::to_string(&Document { hash, ..document }).unwrap();
        assert!(refused(document).contains("https://a b"));
    }
}
