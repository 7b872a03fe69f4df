//! `wsc-operator run`: starts the watches and the admin port, and ends at SIGTERM or SIGINT.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};
use wsc_core::validate::Images;
use wsc_runtime::admin::{BindError, bind};
use wsc_runtime::signals::{SignalError, Signals};

use crate::admin;
use crate::api::ApiServer;
use crate::api::latency::Latency;
use crate::api::layer::ObserveLayer;
use crate::api::limit::{Limiter, RetryAfter};
use crate::api::skew::ClockSkew;
use crate::args::RunArgs;
use crate::context::Context;
use crate::control::ControlClient;
use crate::controller::Controller;
use crate::report::events::{Events, QueuedEvents};
use crate::report::metrics::Metrics;
use crate::sample::Sampler;
use crate::sample::http::PodClient;
use crate::slots::Slots;
use crate::watch::liveness::{LivenessLayer, WatchLiveness};
use crate::watch::{Caches, Enqueue};

/// The API server is near.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Why the operator ends with a failure.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Signals(#[from] SignalError),
    #[error("no service account and no kubeconfig found: {0}")]
    Config(Box<kube::config::InferConfigError>),
    #[error("cannot create the client of the API server: {0}")]
    Client(Box<kube::Error>),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot serve the admin port")]
    Admin(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT. Nothing is handed over: all state is in the cluster.
pub fn start(args: RunArgs) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let result = runtime.block_on(run(args));
    // Pending calls are abandoned.
    runtime.shutdown_background();
    result
}

async fn run(args: RunArgs) -> Result<(), RunError> {
    let mut signals = Signals::new()?;
    let metrics = Arc::new(Metrics::default());
    let liveness = Arc::new(WatchLiveness::default());
    let limiter: Arc<Limiter> = Arc::default();
    let slots = Slots::new(metrics.clone());
    let client = client(&liveness, &limiter, &slots, &metrics).await?;
    let listener = bind(args.admin_address).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        admin = %listener.local_addr().map_err(RunError::Admin)?,
        namespaces = if args.watch_namespaces.is_empty() { "all".to_owned() } else { args.watch_namespaces.join(",") },
        "started"
    );
    let (events, queued_events) = Events::new(client.clone(), args.pod_name.clone());
    let api = ApiServer::new(client.clone(), metrics.clone(), limiter);
    let context = context(&args, api, metrics.clone(), liveness, events);
    tokio::spawn(publish(context.clone(), queued_events));
    tokio::spawn(context.sampler.clone().run());
    let controller = Controller::new(context.clone(), slots);
    let enqueue: Enqueue = Arc::new(move |keys| controller.enqueue(keys));
    context.caches.start(&client, &metrics, &enqueue);
    let caches = context.caches.clone();
    tokio::spawn(async move { caches.report_unlisted().await });
    let serve = axum::serve(listener, admin::router(context)).into_future();
    tokio::select! {
        result = serve => result.map_err(RunError::Admin)?,
        signal = signals.recv() => tracing::info!(?signal, "shutting down; the pools keep running"),
    }
    Ok(())
}

fn context(
    args: &RunArgs,
    api: ApiServer,
    metrics: Arc<Metrics>,
    liveness: Arc<WatchLiveness>,
    events: Events,
) -> Arc<Context> {
    let pods = PodClient::default();
    Arc::new(Context {
        api,
        caches: Arc::new(Caches::new(&args.watch_namespaces, liveness)),
        images: Images {
            server: args.server_image.clone(),
            proxy: args.proxy_image.clone(),
            redis: args.redis_image.clone(),
            operator_namespace: args.pod_namespace.clone(),
        },
        events,
        sampler: Sampler::new(pods.clone(), metrics.clone()),
        control: ControlClient::new(pods),
        metrics,
    })
}

async fn publish(context: Arc<Context>, queued: QueuedEvents) {
    context.events.run(&context.api, queued).await;
}

/// A client that stamps its watches, measures writes, compares clocks and does not retry: the next
/// reconcile does.
async fn client(
    liveness: &Arc<WatchLiveness>,
    limiter: &Arc<Limiter>,
    slots: &Arc<Slots>,
    metrics: &Arc<Metrics>,
) -> Result<Client, RunError> {
    let mut config = Config::infer()
        .await
        .map_err(|error| RunError::Config(Box::new(error)))?;
    config.connect_timeout = Some(CONNECT_DEADLINE);
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).map_err(|error| RunError::Client(Box::new(error)))?;
    let builder = builder.with_layer(&ObserveLayer(RetryAfter(limiter.clone())));
    let builder = builder.with_layer(&ObserveLayer(Latency(slots.clone())));
    let builder = builder.with_layer(&ObserveLayer(ClockSkew::new(metrics.clone())));
    Ok(builder.with_layer(&LivenessLayer(liveness.clone())).build())
}
