//! One worker per cluster: it is woken by watches and samples, and makes one pass after the other.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use wsc_core::validate::validate;

use crate::apply::{self, Target};
use crate::cluster_key::ClusterKey;
use crate::context::Context;
use crate::observe;
use crate::report::{self, Outcome};
use crate::sample::{self, Samples};
use crate::state::State;
use crate::status;

/// A pass that takes longer is given up; every call in it has a shorter deadline of its own.
const PASS_DEADLINE: Duration = Duration::from_mins(2);
/// After a pass that failed nothing is tried for so long, and twice as long each time that it fails again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The pool is looked after all the same: one step may fail for hours.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A resource that cannot be is only looked at again when it changes.
const REFUSED_PAUSE: Duration = Duration::from_mins(10);

/// Starts a worker for each cluster that something happens to.
pub(crate) struct Controller {
    context: Arc<Context>,
    workers: Mutex<HashMap<ClusterKey, Arc<Wake>>>,
}

/// How a worker is woken.
#[derive(Default)]
struct Wake {
    notify: Notify,
    /// Something happened since the last pass began.
    dirty: AtomicBool,
}

/// What a pass came to.
struct Pass {
    outcome: Outcome,
    /// When to look again, if nothing happens before.
    recheck: Duration,
}

impl Controller {
    pub(crate) fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            context,
            workers: Mutex::default(),
        })
    }

    /// Something happened to these clusters.
    pub(crate) fn touch(self: &Arc<Self>, keys: &[ClusterKey]) {
        let mut workers = self.workers.lock();
        for key in keys {
            if let Some(wake) = workers.get(key) {
                wake.dirty.store(true, Ordering::Relaxed);
                wake.notify.notify_one();
                continue;
            }
            let wake = Arc::new(Wake::default());
            workers.insert(key.clone(), wake.clone());
            tokio::spawn(self.clone().look_after(key.clone(), wake));
        }
    }

    /// Something happened that every cluster may see differently now.
    pub(crate) fn touch_all(self: &Arc<Self>) {
        let keys: Vec<_> = self.workers.lock().keys().cloned().collect();
        self.touch(&keys);
    }

    async fn look_after(self: Arc<Self>, key: ClusterKey, wake: Arc<Wake>) {
        if let Some(scope) = self.context.world.scope(&key.namespace) {
            scope.until_synced().await;
        }
        let samples = Arc::new(Samples::default());
        let (poke, answered) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let questions = sample::run(
            self.context.clone(),
            key.clone(),
            samples.clone(),
            poke.clone(),
            answered.clone(),
        );
        let _asking = AbortOnDropHandle::new(tokio::spawn(questions));
        let mut state = State::default();
        let mut pause = FIRST_PAUSE;
        loop {
            wake.dirty.store(false, Ordering::Relaxed);
            let pass = self.pass(&key, &samples, &mut state).await;
            if pass.outcome == Outcome::Gone && self.leave(&key, &wake) {
                return;
            }
            poke.notify_one();
            if matches!(pass.outcome, Outcome::Failed | Outcome::Abandoned) {
                sleep(pause.mul_f64(rand::random_range(0.9..1.1))).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
            pause = FIRST_PAUSE;
            tokio::select! {
                () = wake.notify.notified() => {}
                () = answered.notified() => {}
                () = sleep(pass.recheck) => {}
            }
        }
    }

    /// The worker may end, unless something has happened again.
    fn leave(&self, key: &ClusterKey, wake: &Wake) -> bool {
        let mut workers = self.workers.lock();
        if wake.dirty.load(Ordering::Relaxed) {
            return false;
        }
        workers.remove(key);
        self.context.metrics.forget(key);
        true
    }

    /// One pass, whatever happens in it: it may fail, hang or panic, and the next one starts from what is really there.
    async fn pass(&self, key: &ClusterKey, samples: &Samples, state: &mut State) -> Pass {
        let began = Instant::now();
        let work = AssertUnwindSafe(reconcile(&self.context, key, samples, state)).catch_unwind();
        let pass = match timeout(PASS_DEADLINE, work).await {
            Ok(Ok(pass)) => pass,
            Ok(Err(_)) => {
                tracing::error!(cluster = %key, "reconcile panicked; memory of the cluster reset");
                *state = State::default();
                Pass::of(Outcome::Abandoned)
            }
            Err(_) => {
                tracing::error!(cluster = %key, limit_seconds = PASS_DEADLINE.as_secs(), "reconcile timed out");
                Pass::of(Outcome::Abandoned)
            }
        };
        report::finished(&self.context, pass.outcome, began.elapsed());
        pass
    }
}

impl Pass {
    fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            recheck: REFUSED_PAUSE,
        }
    }
}

/// Observe, validate, plan, apply, report.
async fn reconcile(context: &Context, key: &ClusterKey, samples: &Samples, state: &mut State) -> Pass {
    let Some(resource) = observe::resource(context, key, state) else {
        return Pass::of(Outcome::Gone);
    };
    let cluster = match validate(&resource, &context.images) {
        Ok(cluster) => cluster,
        Err(invalid) => return refuse(context, key, &resource, &invalid, state).await,
    };
    let observed = match observe::observe(context, key, &cluster, &resource, samples, state).await {
        Ok(observed) => observed,
        Err(error) => {
            report::complain(context, key, &error);
            return Pass::of(Outcome::Failed);
        }
    };
    let plan = wsc_core::decide(&cluster, &observed, &state.memory, Timestamp::now());
    let target = Target {
        context,
        key,
        cluster: &cluster,
        resource: resource.clone(),
        observed: &observed,
        samples,
    };
    let applied = apply::apply(&target, &plan, state).await;
    report::report(context, key, &resource, &plan, &applied).await;
    Pass {
        outcome: if applied.errors.is_empty() {
            Outcome::Done
        } else {
            Outcome::Failed
        },
        recheck: plan.recheck_after,
    }
}

async fn refuse(
    context: &Context,
    key: &ClusterKey,
    resource: &wsc_api::v1alpha1::WebSocketCluster,
    invalid: &wsc_core::validate::Invalid,
    state: &mut State,
) -> Pass {
    let generation = resource.metadata.generation.unwrap_or_default();
    let live = resource.status.as_ref();
    let wanted = wsc_core::status::invalid(live, invalid, generation, Timestamp::now());
    let Some(wanted) = wsc_core::status::update(live, &wanted) else {
        return Pass::of(Outcome::Refused);
    };
    match status::put(context, key, resource, &wanted, state).await {
        Ok(_) => {
            tracing::warn!(cluster = %key, field = invalid.field, problem = invalid.problem, "invalid spec; keeping current state");
            Pass::of(Outcome::Refused)
        }
        Err(error) => {
            report::complain(context, key, &error);
            Pass::of(Outcome::Failed)
        }
    }
}
