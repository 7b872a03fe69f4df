//! One worker per resource: it is woken by watches and samples, and reconciles it again and again.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::time::timeout;
use tracing::Instrument;
use wsc_core::status::Obstacle;
use wsc_core::{pins, revision};

use crate::apply::{self, Target};
use crate::clock;
use crate::context::Context;
use crate::error::UNREADABLE;
use crate::identity::ClusterKey;
use crate::observe::{self, Found};
use crate::quiet::Quiet;
use crate::report::{self, Outcome};
use crate::sample::{self, Samples};
use crate::slots::Slots;
use crate::state::State;
use crate::status;
use crate::watch::SYNC_PATIENCE;
use crate::worker::{Pacer, Wake};

/// Deadline of a reconcile; every call in it has a shorter one.
const RECONCILE_DEADLINE: Duration = Duration::from_mins(2);
/// An invalid resource is reconciled again when it changes.
const REFUSED_PAUSE: Duration = Duration::from_mins(10);

/// Runs a worker for each resource with events.
pub(crate) struct Controller {
    context: Arc<Context>,
    workers: Mutex<HashMap<ClusterKey, Arc<Wake>>>,
    slots: Arc<Slots>,
}

/// The result of a reconcile.
struct Reconciled {
    outcome: Outcome,
    /// When to reconcile again without an event.
    recheck: Duration,
    /// Samples are a reason only if they change the outlook.
    quiet: Option<Box<Quiet>>,
}

impl Controller {
    pub(crate) fn new(context: Arc<Context>, slots: Arc<Slots>) -> Arc<Self> {
        Arc::new(Self {
            context,
            workers: Mutex::default(),
            slots,
        })
    }

    /// Wakes the workers of these resources.
    pub(crate) fn enqueue(self: &Arc<Self>, keys: &[ClusterKey]) {
        let mut workers = self.workers.lock();
        for key in keys {
            if let Some(wake) = workers.get(key) {
                wake.event();
                continue;
            }
            let wake = Arc::new(Wake::default());
            workers.insert(key.clone(), wake.clone());
            tokio::spawn(self.clone().run_worker(key.clone(), wake));
        }
    }

    async fn run_worker(self: Arc<Self>, key: ClusterKey, wake: Arc<Wake>) {
        Box::pin(self.until_synced(&key)).await;
        let samples = Arc::new(Samples::default());
        let sampling = self
            .context
            .sampler
            .subscribe(key.clone(), samples.clone(), wake.clone());
        let mut state = State::default();
        let mut pacer = Pacer::default();
        loop {
            let slot = self.slots.slot(&key.namespace).await;
            pacer.begin(&wake);
            let span = tracing::info_span!("reconcile", cluster = %key, generation = tracing::field::Empty);
            // On the heap: a worker waits most of its time, and a reconcile holds every call that
            // it may make.
            let done = Box::pin(self.reconcile(&key, &samples, &mut state))
                .instrument(span)
                .await;
            drop(slot);
            if done.outcome == Outcome::Gone && self.retire(&key, &wake) {
                return;
            }
            sampling.update(sample::targets(&self.context.caches, &key));
            match done.outcome {
                Outcome::Failed | Outcome::Abandoned => pacer.failed().await,
                Outcome::Refused | Outcome::Unreadable | Outcome::Gone => {
                    pacer.succeeded(&wake, done.recheck, || false).await;
                }
                Outcome::Done => {
                    let (context, mut quiet) = (&self.context, done.quiet);
                    let is_due = || {
                        quiet
                            .as_mut()
                            .is_none_or(|quiet| quiet.is_over(context, &key, &samples, &mut state))
                    };
                    pacer.succeeded(&wake, done.recheck, is_due).await;
                }
            }
        }
    }

    /// Waits until all kinds were listed in the namespace; meanwhile the conditions name the
    /// missing ones.
    async fn until_synced(&self, key: &ClusterKey) {
        let Some(scope) = self.context.caches.scope(&key.namespace) else {
            return;
        };
        while timeout(SYNC_PATIENCE, scope.until_synced()).await.is_err() {
            let obstacle = Obstacle::NotListed(scope.missing());
            if let Err(error) = status::put_obstacle(&self.context, key, &obstacle).await {
                report::log_error(&self.context, &error);
            }
        }
    }

    /// The worker may end, unless there is an event again.
    fn retire(&self, key: &ClusterKey, wake: &Wake) -> bool {
        let mut workers = self.workers.lock();
        if wake.is_pending() {
            return false;
        }
        workers.remove(key);
        self.context.metrics.forget(key);
        true
    }

    /// One reconcile. It may fail, hang or panic; the next one starts from the observed state.
    async fn reconcile(&self, key: &ClusterKey, samples: &Samples, state: &mut State) -> Reconciled {
        let began = Instant::now();
        let work = AssertUnwindSafe(reconcile(&self.context, key, samples, state)).catch_unwind();
        let done = match timeout(RECONCILE_DEADLINE, work).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => {
                tracing::error!("reconcile panicked; in-memory state of the resource reset");
                *state = State::default();
                Reconciled::of(Outcome::Abandoned)
            }
            Err(_) => {
                tracing::error!(
                    limit_seconds = RECONCILE_DEADLINE.as_secs(),
                    "reconcile timed out"
                );
                state.give_up();
                Reconciled::of(Outcome::Abandoned)
            }
        };
        report::finished(&self.context, done.outcome, began.elapsed());
        done
    }
}

impl Reconciled {
    fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            recheck: REFUSED_PAUSE,
            quiet: None,
        }
    }
}

/// Resource, validate, observe, decide, apply, status, report.
async fn reconcile(context: &Context, key: &ClusterKey, samples: &Samples, state: &mut State) -> Reconciled {
    let resource = match observe::resource(context, key, state) {
        Found::Resource(resource) => resource,
        Found::Unreadable(error) => return unreadable(context, key, error, state).await,
        Found::Gone => return Reconciled::of(Outcome::Gone),
    };
    tracing::Span::current().record("generation", resource.metadata.generation);
    let recorded = observe::recorded(context, key);
    let cluster = match revision::in_force(&resource, &recorded, &context.images) {
        Ok(cluster) => cluster,
        Err(invalid) => return refuse(context, key, &resource, &invalid, state).await,
    };
    let observed = match observe::observe(context, key, &cluster, &resource, samples, state).await {
        Ok(observed) => observed,
        Err(error) => {
            report::log_error(context, &error);
            return Reconciled::of(Outcome::Failed);
        }
    };
    let cluster = pins::resolve(cluster, &observed, &context.images);
    let now = clock::now();
    let plan = wsc_core::decide(&cluster, &observed, &state.memory, now);
    let target = Target {
        context,
        key,
        cluster: &cluster,
        resource: resource.clone(),
        recorded: &recorded,
        observed: &observed,
        samples,
    };
    let applied = apply::apply(&target, &plan, state).await;
    report::report(context, key, &resource, &plan, &applied);
    let is_done = applied.errors.is_empty();
    Reconciled {
        outcome: if is_done { Outcome::Done } else { Outcome::Failed },
        recheck: plan.recheck_after,
        quiet: (is_done && plan.is_quiet).then(|| Box::new(Quiet::new(cluster, observed, now))),
    }
}

/// Reports once what is wrong; its pods are kept.
async fn unreadable(context: &Context, key: &ClusterKey, error: String, state: &mut State) -> Reconciled {
    if state.problem.as_ref() == Some(&error) {
        return Reconciled::of(Outcome::Unreadable);
    }
    let obstacle = Obstacle::Unreadable(error.clone());
    if let Err(error) = status::put_obstacle(context, key, &obstacle).await {
        report::log_error(context, &error);
        return Reconciled::of(Outcome::Failed);
    }
    context.metrics.error(UNREADABLE);
    tracing::error!(error, "unreadable resource; keeping current state");
    state.problem = Some(error);
    Reconciled::of(Outcome::Unreadable)
}

async fn refuse(
    context: &Context,
    key: &ClusterKey,
    resource: &wsc_api::v1alpha1::WebSocketCluster,
    invalid: &wsc_core::validate::Invalid,
    state: &mut State,
) -> Reconciled {
    let generation = resource.metadata.generation.unwrap_or_default();
    let live = resource.status.as_ref();
    let wanted = wsc_core::status::invalid(live, invalid, generation, clock::now());
    let Some(wanted) = wsc_core::status::update(live, &wanted) else {
        return Reconciled::of(Outcome::Refused);
    };
    match status::put(context, key, resource, &wanted, state).await {
        Ok(_) => {
            tracing::warn!(
                field = invalid.field,
                problem = invalid.problem,
                "invalid spec; keeping current state"
            );
            Reconciled::of(Outcome::Refused)
        }
        Err(error) => {
            report::log_error(context, &error);
            Reconciled::of(Outcome::Failed)
        }
    }
}
