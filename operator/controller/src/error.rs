//! Errors of the shell.

use std::time::Duration;

use wsc_core::failures::{Cause, Problem};

use crate::sample::http::RequestError;
use crate::sample::parse::AnswerError;

/// Why a pod gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// A call that failed; `what` names it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server rejected the call, or could not be reached.
    #[error("{what}: {}", describe(source))]
    Api {
        what: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("{what}: no response within {} s", limit.as_secs())]
    Deadline { what: String, limit: Duration },
    /// A pod did not answer, or not as the contract says.
    #[error("{what}: {source}")]
    Pod { what: String, source: PodError },
    /// The API server accepted the write and the object is another one.
    #[error("{what}: an admission webhook overrides labels or annotations of the spec")]
    Overridden { what: String },
}

/// How the quota admission of the API server begins the message of its 403; the response has no
/// other sign of it.
const OVER_QUOTA: &str = "exceeded quota:";
/// Longest message in a condition: those of the API server and of webhooks have no limit.
const LONGEST_MESSAGE_BYTES: usize = 1024;

/// A resource that does not match the CRD.
pub(crate) const UNREADABLE: &str = "unreadable";

/// Every value of the metrics' label `category`.
pub(crate) const CATEGORIES: [&str; 12] = [
    "forbidden",
    "not_found",
    "conflict",
    "gone",
    "invalid",
    "throttled",
    "server",
    "transport",
    "deadline",
    "pod",
    "overridden",
    UNREADABLE,
];

impl Error {
    /// The label of metrics.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Deadline { .. } => "deadline",
            Self::Pod { .. } => "pod",
            Self::Overridden { .. } => "overridden",
            Self::Api { source, .. } => category(source),
        }
    }

    /// The object was changed or created in the meantime.
    pub(crate) fn is_conflict(&self) -> bool {
        self.category() == "conflict"
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.category() == "not_found"
    }

    /// What a failed write is reported as. A conflict is none: the next reconcile decides on fresh
    /// data.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let message = match self {
            Self::Api { source, .. } => describe(source),
            Self::Deadline { .. } | Self::Overridden { .. } => self.to_string(),
            Self::Pod { .. } => return None,
        };
        match self.category() {
            "conflict" | "not_found" => None,
            category => Some(Problem {
                message: clipped(&message, LONGEST_MESSAGE_BYTES),
                cause: match category {
                    "forbidden" if message.contains(OVER_QUOTA) => Cause::Quota,
                    "forbidden" | "invalid" | "overridden" => Cause::Object,
                    _ => Cause::Call,
                },
            }),
        }
    }

    /// The API server rejected the call, so it has changed nothing.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Api { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if (400..500).contains(&status.code))
            }
            Self::Deadline { .. } | Self::Pod { .. } | Self::Overridden { .. } => false,
        }
    }
}

/// At most this many bytes, cut between characters.
pub(crate) fn clipped(text: &str, bytes: usize) -> String {
    let end = text
        .char_indices()
        .map(|(start, c)| start + c.len_utf8())
        .take_while(|end| *end <= bytes)
        .last()
        .unwrap_or_default();
    text.get(..end).unwrap_or_default().to_owned()
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

/// The API server's message where there is one: the client's text repeats it as a debug print.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kube::core::Status;

    use super::*;

    #[test]
    fn categories_are_what_errors_have() {
        let api = |code| {
            let status = Status::failure("", "").with_code(code).boxed();
            Error::Api {
                what: String::new(),
                source: Box::new(kube::Error::Api(status)),
            }
        };
        let mut found: BTreeSet<&str> = (400..600).map(|code| api(code).category()).collect();
        found.insert(category(&kube::Error::LinesCodecMaxLineLengthExceeded));
        let deadline = Error::Deadline {
            what: String::new(),
            limit: Duration::ZERO,
        };
        let pod = Error::Pod {
            what: String::new(),
            source: PodError::Request(RequestError::Deadline),
        };
        let overridden = Error::Overridden { what: String::new() };
        let others = [&deadline, &pod, &overridden].map(Error::category);
        found.extend(others.into_iter().chain([UNREADABLE]));
        assert_eq!(found, CATEGORIES.into());
    }

    #[test]
    fn problems_are_what_a_retry_meets_again() {
        let error = |code| Error::Api {
            what: "create Pod chat-0".to_owned(),
            source: Box::new(kube::Error::Api(
                Status::failure("because", "").with_code(code).boxed(),
            )),
        };
        for (code, cause) in [
            (400, Cause::Object),
            (403, Cause::Object),
            (422, Cause::Object),
            (429, Cause::Call),
            (500, Cause::Call),
            (503, Cause::Call),
        ] {
            let problem = error(code).problem().unwrap();
            assert_eq!(
                (problem.message.as_str(), problem.cause),
                ("because", cause),
                "{code}"
            );
        }
        let quota = Error::Api {
            what: "create Pod chat-0".to_owned(),
            source: Box::new(kube::Error::Api(
                Status::failure(
                    "pods \"chat-0\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2",
                    "Forbidden",
                )
                .with_code(403)
                .boxed(),
            )),
        };
        assert_eq!(quota.problem().unwrap().cause, Cause::Quota);
        for code in [404, 409] {
            assert_eq!(error(code).problem(), None, "{code}");
        }
        let late = Error::Deadline {
            what: "create Pod chat-0".to_owned(),
            limit: Duration::from_secs(10),
        };
        assert!(late.problem().unwrap().message.contains("10 s"));
    }
}
