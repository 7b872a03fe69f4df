//! Live children as JSON, converted once per version.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use wsc_core::observed::ChildKey;

use crate::api::Kind;

#[derive(Debug, Default)]
pub(crate) struct LiveObjects {
    /// By child: the resource version and the object.
    converted: BTreeMap<ChildKey, (String, Arc<Value>)>,
}

impl LiveObjects {
    pub(crate) fn json<K: Kind>(&mut self, key: &ChildKey, object: &K) -> Arc<Value> {
        let version = object.meta().resource_version.clone().unwrap_or_default();
        match self.converted.get(key) {
            Some((converted, json)) if *converted == version => json.clone(),
            _ => {
                let json = Arc::new(serde_json::to_value(object).unwrap_or_default());
                self.converted.insert(key.clone(), (version, json.clone()));
                json
            }
        }
    }
}
