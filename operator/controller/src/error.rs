//! What can go wrong in the shell.

use std::time::Duration;

/// A call that failed; `what` says which one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server said no, or could not be reached.
    #[error("{what}: {}", describe(source))]
    Api {
        what: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// Nobody answered in time.
    #[error("{what}: no answer within {} s", limit.as_secs())]
    Deadline { what: String, limit: Duration },
    /// A pod's answer was not what it should be, or there was none.
    #[error("{what}: {problem}")]
    Pod { what: String, problem: String },
}

impl Error {
    /// A word for metrics: few and fixed.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Deadline { .. } => "deadline",
            Self::Pod { .. } => "pod",
            Self::Api { source, .. } => category(source),
        }
    }

    /// The object was changed or made by somebody else in between: look again.
    pub(crate) fn is_conflict(&self) -> bool {
        self.category() == "conflict"
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.category() == "not_found"
    }

    /// The API server surely did nothing: it answered with a refusal.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Api { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if (400..500).contains(&status.code))
            }
            Self::Deadline { .. } | Self::Pod { .. } => false,
        }
    }
}

/// The category of an error of the client.
pub(crate) fn category(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) => match status.code {
            403 | 401 => "forbidden",
            404 => "not_found",
            409 => "conflict",
            410 => "gone",
            400 | 422 => "invalid",
            429 => "throttled",
            _ => "server",
        },
        _ => "transport",
    }
}

/// The API server's own words where there are any: the client's text repeats them as a debug print.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}
