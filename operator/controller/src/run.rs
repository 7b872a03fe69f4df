//! `wsc-operator run`: starts the watches and the admin port, and ends at SIGTERM or SIGINT.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tracing_subscriber::EnvFilter;
use wsc_core::validate::Images;

use crate::admin;
use crate::api::ApiServer;
use crate::args::{Exit, LogFormat, RunArgs};
use crate::context::{Context, POD_CALLS};
use crate::controller::Controller;
use crate::report::events::Events;
use crate::report::metrics::Metrics;
use crate::watch::liveness::{LivenessLayer, WatchLiveness};
use crate::watch::{Touch, World};

/// The API server is near.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Exit code of a wrong command line.
const USAGE: u8 = 2;

/// Says why there is nothing to run.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "for the person who typed the command; logging has not begun"
)]
pub fn explain(exit: &Exit) -> ExitCode {
    match exit {
        Exit::Asked(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Exit::Wrong(line) => {
            eprintln!("{line}");
            ExitCode::from(USAGE)
        }
    }
}

/// Logs to standard error from now on; `RUST_LOG` says what (default `info`).
pub fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.init(),
    }
}

/// Runs until it is told to stop. Nothing is handed over: all state is in the cluster.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let metrics = Arc::new(Metrics::default());
    let liveness = Arc::new(WatchLiveness::default());
    let client = client(&liveness).await?;
    let listener = admin::bind(args.admin_address).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        admin = %listener.local_addr()?,
        namespaces = if args.watch_namespaces.is_empty() { "all".to_owned() } else { args.watch_namespaces.join(",") },
        "started"
    );
    let context = context(&args, client.clone(), metrics.clone(), liveness);
    let controller = Controller::new(context.clone());
    let touch: Touch = {
        let controller = controller.clone();
        Arc::new(move |keys| controller.touch(keys))
    };
    let touch_all: Touch = Arc::new(move |_| controller.touch_all());
    context.world.start(&client, &metrics, &touch, &touch_all);
    let serve = axum::serve(listener, admin::router(context)).into_future();
    tokio::select! {
        result = serve => result.context("admin port")?,
        _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "shutting down; the pools keep running"),
        _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "shutting down; the pools keep running"),
    }
    Ok(())
}

fn context(
    args: &RunArgs,
    client: Client,
    metrics: Arc<Metrics>,
    liveness: Arc<WatchLiveness>,
) -> Arc<Context> {
    Arc::new(Context {
        api: ApiServer::new(client, metrics.clone()),
        world: Arc::new(World::new(&args.watch_namespaces, liveness)),
        images: Images {
            server: args.server_image.clone(),
            proxy: args.proxy_image.clone(),
            redis: args.redis_image.clone(),
            operator_namespace: args.pod_namespace.clone(),
        },
        metrics,
        events: Events::new(args.pod_name.clone()),
        pod_calls: Semaphore::new(POD_CALLS),
    })
}

/// A client that stamps its watches and never tries a call again by itself: the next pass does.
async fn client(liveness: &Arc<WatchLiveness>) -> anyhow::Result<Client> {
    let mut config = Config::infer()
        .await
        .context("no service account and no kubeconfig found")?;
    config.connect_timeout = Some(CONNECT_DEADLINE);
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).context("client of the API server")?;
    Ok(builder.with_layer(&LivenessLayer(liveness.clone())).build())
}
