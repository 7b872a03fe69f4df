//! Members of rooms.

use std::sync::Arc;

use crate::outbox::Outbox;
use crate::protocol::Sender;

/// One connection in one room.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) sender: Sender,
    pub(crate) outbox: Arc<Outbox>,
    /// Whether it gets its own messages.
    pub(crate) echo: bool,
}
