//! How a reconcile ended.

/// The outcome of a reconcile, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything that was planned is done.
    Done,
    /// A step failed.
    Failed,
    /// The spec is invalid.
    Refused,
    /// The resource does not match the CRD of this operator's version.
    Unreadable,
    /// The resource does not exist, or is being deleted.
    Gone,
    /// It panicked or timed out.
    Abandoned,
}

impl Outcome {
    pub(crate) const ALL: [Self; 6] = [
        Self::Done,
        Self::Failed,
        Self::Refused,
        Self::Unreadable,
        Self::Gone,
        Self::Abandoned,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Gone => "gone",
            Self::Abandoned => "abandoned",
        }
    }
}
