//! Results of the steps of a plan.

use wsc_core::observed::ChildKey;

use crate::clock;
use crate::error::Error;
use crate::state::State;

/// The result of applying a plan.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Steps that failed, in order.
    pub(crate) errors: Vec<Error>,
    /// Connections that pods have newly accepted to move.
    pub(crate) granted: i64,
}

impl Applied {
    pub(super) fn note(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.errors.push(error);
        }
    }

    pub(super) fn child(
        &mut self,
        state: &mut State,
        key: &ChildKey,
        hash: Option<&String>,
        result: Result<(), Error>,
    ) {
        self.object(state, &format!("{:?}", key.kind), &key.name, hash, result);
    }

    pub(super) fn pod(&mut self, state: &mut State, name: &str, uid: &str, result: Result<(), Error>) {
        state.written(uid, result.is_ok());
        self.object(state, "Pod", name, None, result);
    }

    /// Records the result of a write on an object.
    pub(super) fn object(
        &mut self,
        state: &mut State,
        kind: &str,
        name: &str,
        hash: Option<&String>,
        result: Result<(), Error>,
    ) {
        match &result {
            Ok(()) => state.memory.apply_succeeded(kind, name),
            Err(error) => {
                if let Some(problem) = error.problem() {
                    let now = clock::now();
                    state.memory.apply_failed(kind, name, hash.cloned(), problem, now);
                }
            }
        }
        self.note(result);
    }
}
