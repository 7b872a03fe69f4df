//! `wsc-proxy-agent run`: starts the parts, and stays as long as HAProxy has clients when the pod ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, Admin};
use crate::args::{RunArgs, SourceKind};
use crate::folder::Folder;
use crate::keeper::Keeper;
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::reload::Reloader;
use crate::source::{self, Wanted};
use crate::status::Shared;

/// How often a HAProxy that leaves is asked who is left.
const FAREWELL_PAUSE: Duration = Duration::from_secs(1);
/// The kubelet tells both containers to stop, one after the other. A HAProxy that still accepts after this is not leaving.
const FAREWELL_TRIES: usize = 4;

/// Runs until SIGTERM, SIGUSR1 or SIGINT.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    if args.source == SourceKind::Configmap && args.cluster.is_empty() {
        anyhow::bail!("--cluster (WSC_CLUSTER) is empty: it names the ConfigMap to watch");
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if provider.is_err() {
        tracing::warn!("a TLS provider was installed already");
    }
    let mut terminate = Terminate::new()?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let (shared, metrics) = (Arc::new(Shared::default()), Arc::new(Metrics::default()));
    let listener = admin::bind(args.admin_port).await?;
    tracing::info!(admin = %listener.local_addr()?, "started");
    let admin = Admin {
        shared: Arc::clone(&shared),
        metrics: Arc::clone(&metrics),
    };
    let serve = tokio::spawn(async move { axum::serve(listener, admin::router(admin)).await });
    let (sender, wanted) = watch::channel(Wanted::default());
    let mut keeper = Keeper {
        observer: Observer::new(&args.places.run_folder),
        folder: Folder::new(&args.places.run_folder),
        reloader: Reloader::new(args.places.clone(), args.reload_interval(), Arc::clone(&metrics)),
        wanted,
        shared: Arc::clone(&shared),
        metrics,
        recheck: args.recheck(),
        worker: None,
        structure: None,
        too_old: None,
        complaint: None,
    };
    // A state file of an earlier reload would tell the next worker of servers as they were then.
    keeper.folder.remove_state()?;
    tokio::select! {
        () = keeper.run() => {}
        () = source::follow(&args, sender) => {}
        result = serve => result.context("admin port")?.context("admin port")?,
        () = terminate.asked() => farewell(&mut keeper.observer, &shared, &mut terminate).await,
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The kubelet's wish that the container ends. HAProxy needs SIGUSR1 for that, and the stop signal belongs to the image, which both
/// containers share.
struct Terminate {
    plain: Signal,
    of_the_image: Signal,
}

impl Terminate {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            plain: signal(SignalKind::terminate()).context("SIGTERM")?,
            of_the_image: signal(SignalKind::user_defined1()).context("SIGUSR1")?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.plain.recv() => {}
            _ = self.of_the_image.recv() => {}
        }
    }
}

/// The pod ends, and HAProxy lets its clients finish: until then the operator can still ask how many are left.
async fn farewell(observer: &mut Observer, shared: &Shared, again: &mut Terminate) {
    shared.leave();
    let mut still_accepting = 0;
    loop {
        tokio::select! {
            () = again.asked() => return,
            () = tokio::time::sleep(FAREWELL_PAUSE) => {}
        }
        shared.progressed();
        if observer.servers().await.is_ok() {
            still_accepting += 1;
            if still_accepting >= FAREWELL_TRIES {
                tracing::info!("haproxy goes on, only the agent ends");
                return;
            }
            continue;
        }
        match observer.observe_leaving().await {
            Ok(left) if left.workers > 0 => shared.update(|status| {
                status.synced = false;
                status.connections = left.connections();
                status.servers = left.server_status();
                status.old_workers = left.workers;
            }),
            _ => {
                tracing::info!("haproxy is gone");
                return;
            }
        }
    }
}
