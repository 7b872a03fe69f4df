//! A gate that a test opens and closes while others stand before it.

use std::sync::Arc;

use tokio::sync::watch;

/// Open at first. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(true)))
    }
}

impl Gate {
    /// Nothing passes from now on.
    pub fn close(&self) {
        self.0.send_replace(false);
    }

    /// Whatever waits passes.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Returns when the gate is open.
    pub async fn pass(&self) {
        // The sender lives in this very object, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
