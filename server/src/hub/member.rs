//! Members of rooms.

use std::sync::Arc;

use crate::outbox::Outbox;
use crate::protocol::Sender;

/// One connection in one room.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Who it is.
    pub(crate) sender: Sender,
    /// Where its messages go.
    pub(crate) outbox: Arc<Outbox>,
    /// Whether it gets its own messages.
    pub(crate) echo: bool,
}
