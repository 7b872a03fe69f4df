//! The server as a whole: what its parts share, and its life from the listeners to the last client.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::capacity::Capacity;
use crate::clients::Clients;
use crate::config::Config;
use crate::hub::Hub;
use crate::hub::shard::Turn;
use crate::listen::{Listeners, accept};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::protocol::refusal::Refusal;
use crate::shards::{Port, Pulse, Shards};
use crate::shed::{ShedRequest, Shedding};
use crate::wheel::Wheel;
use crate::{admin, drain};

/// Sockets of the client port beyond the slots: checks of the proxy, handshakes that get a 503.
const SPARE_SOCKETS: usize = 128;
/// How often the memory is looked at while few come.
const MEMORY_LOOK: Duration = Duration::from_millis(500);
/// Sockets of the control port.
const CONTROL_SOCKETS: usize = 64;

/// What the parts of one server process share.
#[derive(Debug)]
pub struct Server {
    /// The settings.
    pub config: Config,
    /// The random number of this process.
    pub process: u64,
    /// Rooms and members.
    pub hub: Arc<Hub>,
    /// The road between members.
    pub broker: Broker,
    /// Slots.
    pub capacity: Arc<Capacity>,
    /// Who can be asked to leave.
    pub clients: Arc<Clients>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// Told when a connection is gone.
    pub departed: Notify,
    /// Told when the shedding may have something to do.
    pub shed_wake: Notify,
    /// Whether the shards go on.
    pub pulse: Pulse,
    wheels: Vec<Wheel>,
    /// Whether there is memory for more clients.
    pub memory: Memory,
    started: Instant,
    connections: AtomicU64,
    closed: AtomicU64,
    refused: Refused,
    cordoned: AtomicBool,
    terminating: AtomicBool,
    shedding: Mutex<Shedding>,
}

/// Handshakes refused since the start, as `/stats` tells them apart.
#[derive(Debug, Default)]
pub struct Refused {
    /// No slot or no memory left.
    pub full: AtomicU64,
    /// Cordoned or leaving.
    pub draining: AtomicU64,
    /// Meant for another pod.
    pub wrong_pod: AtomicU64,
    /// Origin not allowed.
    pub origin: AtomicU64,
    /// Everything else that is the client's mistake.
    pub bad_request: AtomicU64,
}

impl Server {
    /// A server that has no listeners yet. Call it within a tokio runtime.
    pub fn new(config: Config) -> Arc<Self> {
        let limits = config.limits;
        let hub = Arc::new(Hub::new(
            config.shards,
            limits.outbound_queue_bytes,
            limits.outbound_total_bytes,
        ));
        let metrics = Arc::new(Metrics::new());
        let broker = Broker::start(&config.broker, Arc::clone(&hub), Arc::clone(&metrics));
        metrics
            .capacity
            .set(i64::try_from(config.capacity).unwrap_or(i64::MAX));
        Arc::new(Self {
            process: rand::random(),
            capacity: Capacity::new(config.capacity),
            shedding: Mutex::new(Shedding::new(config.max_sheds_per_second)),
            pulse: Pulse::new(config.shards),
            memory: Memory::new(config.memory_limit),
            wheels: (0..config.shards).map(|_| Wheel::default()).collect(),
            config,
            hub,
            broker,
            clients: Arc::default(),
            metrics,
            departed: Notify::new(),
            shed_wake: Notify::new(),
            started: Instant::now(),
            connections: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            refused: Refused::default(),
            cordoned: AtomicBool::new(false),
            terminating: AtomicBool::new(false),
        })
    }

    /// What tells this process from the one before it under the same name.
    pub fn boot_id(&self) -> String {
        format!("{:016x}", self.process)
    }

    /// Since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether new handshakes are taken.
    pub fn admits(&self) -> bool {
        !self.is_cordoned() && !self.is_terminating()
    }

    /// Whether the operator closed the door.
    pub fn is_cordoned(&self) -> bool {
        self.cordoned.load(Ordering::Relaxed)
    }

    /// Closes or opens the door for new handshakes.
    pub fn set_cordoned(&self, cordoned: bool) {
        if self.cordoned.swap(cordoned, Ordering::Relaxed) != cordoned {
            tracing::info!(cordoned, "cordon changed");
        }
    }

    /// Whether SIGTERM came.
    pub fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::Relaxed)
    }

    /// From now on the process only says goodbye.
    pub fn leave(&self) {
        self.terminating.store(true, Ordering::Relaxed);
    }

    /// The number of a new connection.
    pub fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Connections ended since the start.
    pub fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// An open connection is gone and has given everything back.
    pub fn connection_closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
        self.departed.notify_one();
    }

    /// Handshakes refused since the start.
    pub fn refused(&self) -> &Refused {
        &self.refused
    }

    /// Counts a refused handshake.
    pub fn count_refusal(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Full | Refusal::Memory => &self.refused.full,
            Refusal::Draining => &self.refused.draining,
            Refusal::WrongPod => &self.refused.wrong_pod,
            Refusal::Origin => &self.refused.origin,
            Refusal::BadRequest(_) | Refusal::NotFound | Refusal::Method | Refusal::UpgradeRequired => {
                &self.refused.bad_request
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.metrics.refused(refusal.code()).inc();
    }

    /// The state of the shedding.
    pub fn shedding(&self) -> MutexGuard<'_, Shedding> {
        self.shedding.lock()
    }

    /// The operator's word.
    pub fn request_shed(&self, request: ShedRequest) {
        tracing::info!(
            total = request.total,
            per_second = request.per_second,
            via = request.via,
            "shed requested"
        );
        self.shedding().request(request);
        self.wake_shedding();
    }

    /// There may be something to shed.
    pub fn wake_shedding(&self) {
        self.shed_wake.notify_one();
    }

    /// What wakes the sessions of a shard.
    pub fn wheel(&self, shard: usize) -> &Wheel {
        &self.wheels[shard % self.wheels.len()]
    }

    /// Wakes the sessions of a shard in time, forever.
    pub async fn turn(&self, shard: usize) -> Infallible {
        let lag = self.metrics.loop_lag(shard);
        self.wheel(shard)
            .turn(|late| lag.observe(late.as_secs_f64()))
            .await
    }

    /// Brings the messages of a shard to its members, forever; only on the shard's own thread.
    pub async fn walk(&self, shard: usize) -> Infallible {
        self.hub.shard(shard).walk(|turn| self.account(&turn)).await
    }

    fn account(&self, turn: &Turn) {
        self.metrics.deliveries.inc_by(turn.delivered);
        self.metrics.delivered_bytes.inc_by(turn.bytes);
        for members in &turn.walks {
            self.metrics.fanout_members.observe(real(*members));
        }
        self.metrics.overflows.inc_by(turn.overflowed);
        let excess = self.hub.budget().excess();
        if excess > 0 {
            let given_up = self.clients.give_up(excess);
            tracing::warn!(
                excess_bytes = excess,
                closed = given_up,
                "outbound queues over their total limit; closing the longest"
            );
            self.metrics.overflows.inc_by(given_up);
        }
    }

    /// Brings the gauges up to date, for a scrape.
    pub fn refresh_gauges(&self) {
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.connections.set(gauge(self.capacity.taken()));
        self.metrics.rooms.set(gauge(self.hub.len() as u64));
        let outboxes = self.hub.budget().used() as u64;
        self.metrics.outbound_queue_bytes.set(gauge(outboxes));
        self.metrics.backlog_bytes.set(gauge(self.hub.backlog() as u64));
        self.metrics.memory_bytes.set(gauge(self.memory.used()));
    }
}

/// Serves until `shutdown` is over and every client was asked to leave; new handshakes get 503 meanwhile.
///
/// # Errors
/// If a shard cannot be started.
pub async fn serve(
    listeners: Listeners,
    server: Arc<Server>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let slots = usize::try_from(server.capacity.max()).unwrap_or(usize::MAX);
    let sockets = slots.saturating_add(SPARE_SOCKETS).min(Semaphore::MAX_PERMITS);
    let clients = Port {
        server: Arc::clone(&server),
        sockets: Arc::new(Semaphore::new(sockets)),
        refused: server.metrics.refused("client_sockets"),
    };
    let shards = Shards::start(listeners.clients, &clients)?;
    let tasks = [
        tokio::spawn(accept(
            listeners.control,
            0,
            admin::router(Arc::clone(&server)),
            Arc::new(Semaphore::new(CONTROL_SOCKETS)),
            server.metrics.refused("control_sockets"),
        )),
        tokio::spawn(shed_forever(Arc::clone(&server))),
        tokio::spawn(look_at_memory(Arc::clone(&server))),
    ];
    shutdown.await;
    drain::leave(&server).await;
    for task in tasks {
        task.abort();
    }
    shards.end();
    Ok(())
}

/// A number of members to calculate with.
fn real(members: usize) -> f64 {
    u32::try_from(members).map_or(f64::INFINITY, f64::from)
}

async fn look_at_memory(server: Arc<Server>) -> Infallible {
    loop {
        server.memory.look();
        tokio::time::sleep(MEMORY_LOOK).await;
    }
}

async fn shed_forever(server: Arc<Server>) -> Infallible {
    drain::shed(&server).await
}
