//! `wsc-proxy-agent run`: starts the parts, and runs until HAProxy has drained when the pod
//! terminates.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use wsc_contract::agent::AgentStatus;
use wsc_runtime::admin::{BindError, any_address, bind};
use wsc_runtime::signals::{Signal, SignalError, Signals};

use crate::admin::{self, Admin};
use crate::args::RunArgs;
use crate::folder::{Folder, FolderError};
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::reconciler::Reconciler;
use crate::source::{self, Wanted};
use crate::status::SharedStatus;

/// Interval of queries to a draining HAProxy.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The kubelet signals both containers one after the other. A HAProxy that still accepts after this
/// many queries does not drain.
const DRAIN_START_POLLS: usize = 4;

/// The agent cannot run.
#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Signals(#[from] SignalError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot serve the admin port")]
    Serve(#[from] io::Error),
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// Runs until SIGTERM, SIGUSR1 or SIGINT. HAProxy's stop signal is SIGUSR1, and both containers
/// share the image that sets it.
pub async fn run(args: RunArgs) -> Result<(), RunError> {
    let mut signals = Signals::new()?.with_user1()?;
    let (status, metrics) = (Arc::new(SharedStatus::default()), Arc::new(Metrics::default()));
    let listener = bind(any_address(args.admin_port)).await?;
    tracing::info!(admin = %listener.local_addr()?, "started");
    let admin = Admin {
        status: Arc::clone(&status),
        metrics: Arc::clone(&metrics),
    };
    let serve = async { axum::serve(listener, admin::router(admin)).await };
    let (sender, wanted) = watch::channel(Wanted::default());
    // The states of an earlier reload must not reach the next worker.
    Folder::new(&args.places.run_folder).remove_state()?;
    let mut reconciler = Reconciler::new(&args, wanted, Arc::clone(&status), metrics);
    let work = async {
        let signal = tokio::select! {
            () = reconciler.run() => return,
            () = source::follow(&args, sender) => return,
            signal = signals.recv() => signal,
        };
        if signal != Signal::Interrupt {
            wait_for_drain(reconciler.into_observer(), &status, &mut signals).await;
        }
    };
    tokio::select! {
        () = work => Ok(()),
        result = serve => Ok(result?),
    }
}

/// Reports the remaining clients to the operator until HAProxy has terminated, or until another
/// signal.
async fn wait_for_drain(mut observer: Observer, status: &SharedStatus, signals: &mut Signals) {
    status.start_drain();
    let mut accepting = 0;
    loop {
        tokio::select! {
            _ = signals.recv() => return,
            () = tokio::time::sleep(DRAIN_POLL_INTERVAL) => {}
        }
        status.record_progress();
        if observer.servers().await.is_ok() {
            accepting += 1;
            if accepting >= DRAIN_START_POLLS {
                tracing::info!("haproxy does not drain; terminating without waiting");
                return;
            }
            continue;
        }
        match observer.observe_drain().await {
            Ok(drain) if drain.workers > 0 => {
                let change = |status: &mut AgentStatus| {
                    status.synced = false;
                    status.connections = drain.connections();
                    status.servers = drain.server_status();
                    status.old_workers = drain.workers;
                };
                match drain.at {
                    Some(at) => status.update_observed(at, change),
                    None => status.update(change),
                }
            }
            _ => {
                tracing::info!("haproxy has terminated");
                return;
            }
        }
    }
}
