//! The rules that decide on the pods of a world: the operator, or the HPA.

pub(crate) mod hpa;
pub(crate) mod operator;

use anyhow::Result;
use serde::Serialize;

use crate::world::World;

/// Pods as the rules see them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Pods {
    pub(crate) desired: i64,
    /// Ready and in rotation.
    pub(crate) active: i64,
    pub(crate) draining: i64,
    /// All that exist, those that start included.
    pub(crate) existing: i64,
}

pub(crate) trait Rules {
    /// A second of the world is over.
    fn step(&mut self, world: &mut World) -> Result<()>;

    fn pods(&self, world: &World) -> Pods;
}
