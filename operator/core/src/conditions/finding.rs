//! What conditions are made from, and a condition before it has a time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::draft::Draft;
use crate::numbers::{since, whole_second};
use crate::pool::Pool;
use crate::reach::FRESH;
use crate::scale::Scale;

/// `status` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    Unknown,
}

/// One condition before it has a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) type_: &'static str,
    pub(crate) truth: Truth,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Everything that conditions are made of.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) draft: &'a Draft<'a>,
    pub(crate) pool: &'a Pool<'a>,
    pub(crate) scale: &'a Scale,
    /// Structure of the configuration that is published.
    pub(crate) structure: &'a str,
    /// Hash of the settings that are published.
    pub(crate) settings: &'a str,
}

impl Truth {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(so: bool) -> Self {
        if so { Self::True } else { Self::False }
    }
}

impl Finding {
    pub(crate) fn new(
        type_: &'static str,
        truth: impl Into<Truth>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            truth: truth.into(),
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// With its time: that of the last transition is kept while the status is the same.
    pub(crate) fn condition(self, before: Option<&Condition>, generation: i64, now: Timestamp) -> Condition {
        let status = self.truth.as_str();
        let before = before.filter(|before| before.status == status);
        Condition {
            type_: self.type_.to_owned(),
            status: status.to_owned(),
            reason: self.reason,
            message: self.message,
            observed_generation: Some(generation),
            last_transition_time: before.map_or_else(
                || Time(whole_second(now)),
                |before| before.last_transition_time.clone(),
            ),
        }
    }
}

impl Facts<'_> {
    /// The condition as it was.
    pub(crate) fn before(&self, type_: &str) -> Option<&Condition> {
        let conditions = &self.draft.observed.status.conditions;
        conditions.iter().find(|condition| condition.type_ == type_)
    }

    pub(crate) fn was_true(&self, type_: &str) -> bool {
        self.before(type_)
            .is_some_and(|condition| condition.status == Truth::True.as_str())
    }

    /// The condition as it was, while the operator has just started and its first samples are under
    /// way.
    pub(crate) fn before_samples(&self, type_: &'static str) -> Option<Finding> {
        let started_at = self.draft.memory.started_at?;
        (since(started_at, self.draft.now) <= FRESH)
            .then(|| self.unchanged(type_))
            .flatten()
    }

    /// The condition as it was.
    pub(crate) fn unchanged(&self, type_: &'static str) -> Option<Finding> {
        let before = self.before(type_)?;
        let truth = match before.status.as_str() {
            "True" => Truth::True,
            "False" => Truth::False,
            _ => Truth::Unknown,
        };
        Some(Finding::new(
            type_,
            truth,
            before.reason.clone(),
            before.message.clone(),
        ))
    }
}
