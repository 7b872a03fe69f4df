//! What happens in a demo, in its order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::board::Board;
use super::book::Book;
use super::checker::Rules;
use super::cookies;
use super::crowd::Crowd;
use super::example::Example;
use super::http::Http;
use super::install::{self, NAMESPACE};
use super::observe::{self, Observer};
use super::person::Pace;
use super::pool::Pool;
use super::record::{CookieTry, Counted, Pods, Record};
use super::report::Facts;
use wsc_testing::cluster::{Cluster, eventually};

/// Clients that stay for the whole demo and all publish.
pub const STEADY: usize = 54;
/// Clients that come, listen, and leave.
pub const RAMP: usize = 180;
/// Of these, the ones on new pods that stay until they have had to move.
pub const LINGER: usize = 16;

/// Of all clients that publish, together.
const MESSAGES_PER_SECOND: u32 = 8;
/// Clients that come in a second, and that leave.
const COME_PER_SECOND: u32 = 7;
const LEAVE_PER_SECOND: u32 = 10;
/// While new pods are awaited, somebody looks in this often, so that a pod is found soon after it can be.
const LOOK_IN: Duration = Duration::from_millis(100);
/// How long the pool stays at its largest: until its first pods have the two minutes that a pod has to be old before it may leave.
const HOLD: Duration = Duration::from_secs(40);
/// From the end of that to the end of the demo, roughly.
const REST: Duration = Duration::from_secs(100);
/// Clients of each pod that go and come back with their cookie.
const TRIES_PER_POD: usize = 8;
/// Far longer than a message takes on a busy machine, far shorter than a client stays.
const ARRIVAL_BOUND: Duration = Duration::from_secs(2);
/// The least that a demo has to show.
const LEAST_MESSAGES: u64 = 1000;
const LEAST_STEADY: usize = 50;
const LEAST_TRIES: u64 = 20;
const LEAST_TRY_PODS: usize = 3;
const LEAST_GROWTH: usize = 2;
const LEAST_MOVED: u64 = 10;

/// Deadlines of the phases, on a machine that is busy with something else too.
const READY: Duration = Duration::from_mins(3);
const CONNECT: Duration = Duration::from_mins(1);
const GROW: Duration = Duration::from_mins(3);
const RETURN: Duration = Duration::from_mins(1);
const SHRINK: Duration = Duration::from_mins(6);
/// For counters that are read once a second and a status that is written every five.
const AGREE: Duration = Duration::from_secs(20);

/// Where the demo plays.
pub struct Stage {
    /// The Kubernetes.
    pub cluster: Cluster,
    /// What is shown.
    pub board: Arc<Board>,
    /// What is applied.
    pub example: Example,
    /// How long a run should take, if somebody cares.
    pub seconds: Option<u32>,
}

/// A demo that was played to its end.
pub struct Played {
    /// What happened.
    pub record: Record,
    /// What it has to prove.
    pub rules: Rules,
    /// What else the report says.
    pub facts: Facts,
}

/// Plays the demo.
///
/// # Errors
/// When it cannot go on: what is awaited does not come.
pub async fn play(stage: &Stage) -> Result<Played> {
    let board = &stage.board;
    let (mut facts, _observer) = set_up(stage).await?;
    let first_pods: BTreeSet<String> = board.pool(|pool| pool.pods.keys().cloned().collect());
    let at_first = board.pool(|pool| pool.active());
    let endpoint = board
        .pool(|pool| pool.status.endpoint.clone())
        .context("the status names no endpoint")?;
    let book = Arc::new(Book::new(
        board.began(),
        &stage.example.spec.proxy.sticky.cookie_name,
    ));
    board.show(&book);
    let mut crowd = Crowd::new(Arc::clone(&book), &endpoint);
    steady_come(board, &book, &mut crowd).await?;
    others_come(board, &mut crowd).await;
    grow(stage, &book, &crowd).await?;
    facts.first_connection =
        first_connection(board, &book, &first_pods).context("no new pod met a client")?;
    hold(stage).await;
    let tries = come_back(board, &book, &crowd).await?;
    others_leave(board, &book, &crowd, &first_pods).await;
    shrink(stage).await?;
    let until = fall_silent(board, &book).await;
    let counted = agree(stage, &book).await;
    let pods = board.pool(|pool| Pods {
        minimum: stage.example.minimum(),
        at_first,
        peak: pool.peak,
        at_last: pool.active(),
    });
    board.phase("all clients disconnect");
    crowd.disperse().await?;
    let (clients, messages) = book.close();
    let record = Record {
        clients,
        messages,
        tries,
        counted,
        pods,
        timeline: board.timeline(),
        until,
    };
    Ok(Played {
        record,
        rules: rules(stage),
        facts,
    })
}

fn rules(stage: &Stage) -> Rules {
    Rules {
        arrival_bound: ARRIVAL_BOUND,
        least_messages: LEAST_MESSAGES,
        least_steady: LEAST_STEADY,
        least_tries: LEAST_TRIES,
        least_try_pods: LEAST_TRY_PODS,
        least_growth: LEAST_GROWTH,
        least_moved: LEAST_MOVED,
        moves_per_second: stage.example.moves_per_second(STEADY + RAMP),
    }
}

/// Everything is there and says that it is ready: what it is, and how long that took from the apply on.
async fn set_up(stage: &Stage) -> Result<(Facts, Observer)> {
    let (board, cluster) = (&stage.board, &stage.cluster);
    board.phase("two namespaces with the restricted Pod Security standard");
    install::prepare(cluster).await?;
    board.phase("helm upgrade --install websocket-operator");
    install::install(cluster).await?;
    let observer = Observer::start(cluster, board, &stage.example.name);
    board.phase(format!("kubectl apply -n {NAMESPACE} -f docs/examples/demo.yaml"));
    let began = Instant::now();
    install::apply(cluster, &stage.example).await?;
    let mut ready = Duration::ZERO;
    eventually(READY, "the resource is Ready", || {
        let (is_ready, why) = board.pool(|pool| pool.ready());
        ready = began.elapsed();
        std::future::ready(if is_ready {
            Ok(Some(()))
        } else {
            Err(anyhow::anyhow!(why))
        })
    })
    .await?;
    board.note(format!("Ready {:.1} s after the apply", ready.as_secs_f64()));
    wait(board, READY, "all pods of a quiet pool are Active", |pool| {
        pool.status.starting_replicas == 0
            && usize::try_from(pool.status.desired_replicas) == Ok(pool.active())
            && pool
                .proxies
                .values()
                .filter(|proxy| proxy.status.is_some())
                .count()
                == stage.example.proxies()
    })
    .await?;
    let haproxy = board.pool(|pool| pool.haproxy_version().map(str::to_owned));
    let facts = Facts {
        kubernetes: install::kubernetes_version(cluster).await?,
        haproxy: haproxy.context("no agent says HAProxy's version")?,
        redis: install::redis_version(cluster, &stage.example).await?,
        apply_to_ready: ready,
        ..Facts::default()
    };
    Ok((facts, observer))
}

async fn wait(board: &Board, deadline: Duration, what: &str, reached: impl Fn(&Pool) -> bool) -> Result<()> {
    let look = || std::future::ready(Ok(board.pool(|pool| reached(pool)).then_some(())));
    eventually(deadline, what, look).await
}

async fn steady_come(board: &Board, book: &Book, crowd: &mut Crowd) -> Result<()> {
    board.phase(format!(
        "{STEADY} clients come to stay; all of them publish, and all hear everything"
    ));
    let people = u32::try_from(STEADY).unwrap_or(u32::MAX);
    let every = Duration::from_secs(1) * people / MESSAGES_PER_SECOND;
    for turn in 0..people {
        let first = every * turn / people;
        crowd.join(Some(Pace { first, every }));
        sleep(Duration::from_secs(1) / (2 * COME_PER_SECOND)).await;
    }
    wait(board, CONNECT, "all steady clients are connected", |_| {
        book.glance().open >= STEADY
    })
    .await
}

async fn others_come(board: &Board, crowd: &mut Crowd) {
    board.phase(format!("{RAMP} more clients come, {COME_PER_SECOND} a second"));
    for _ in 0..RAMP {
        crowd.join(None);
        sleep(Duration::from_secs(1) / COME_PER_SECOND).await;
    }
}

/// Waits until the pool is as large as the clients need and each of its pods has met one.
async fn grow(stage: &Stage, book: &Book, crowd: &Crowd) -> Result<()> {
    stage.board.phase("the pool grows");
    let grown = |pool: &Pool| {
        let met = |name: &String| {
            pool.cookie_of(name)
                .is_some_and(|cookie| book.first_landed(cookie).is_some())
        };
        let counted = usize::try_from(pool.status.connections.current).unwrap_or(0);
        // The status leaves out changes below one percent.
        counted * 100 >= (STEADY + RAMP) * 98
            && pool.active() >= stage.example.minimum() + LEAST_GROWTH
            && pool.status.starting_replicas == 0
            && usize::try_from(pool.status.desired_replicas) == Ok(pool.active())
            && pool.pods.keys().all(met)
    };
    let visits = async {
        loop {
            crowd.look_in().await;
            sleep(LOOK_IN).await;
        }
    };
    tokio::select! {
        reached = wait(&stage.board, GROW, "the pool has grown and each pod has met a client", grown) => reached,
        () = visits => Ok(()),
    }
}

/// The longest time between a new pod's Ready and its first connection.
fn first_connection(board: &Board, book: &Book, first_pods: &BTreeSet<String>) -> Option<Duration> {
    board.pool(|pool| {
        let ready = pool.ready_at.iter();
        let new = ready.filter(|(name, _)| !first_pods.contains(*name));
        new.filter_map(|(name, ready_at)| {
            let met = book.first_landed(pool.cookie_of(name)?)?;
            Some(met.saturating_duration_since(*ready_at))
        })
        .max()
    })
}

async fn hold(stage: &Stage) {
    let rest = stage
        .seconds
        .map_or(Duration::ZERO, |seconds| Duration::from_secs(seconds.into()));
    let hold = rest
        .saturating_sub(REST + stage.board.began().elapsed())
        .max(HOLD);
    stage
        .board
        .phase(format!("the pool holds its clients for {} s", hold.as_secs()));
    sleep(hold).await;
}

/// Some clients of each pod go and come back with their cookie: each must find its own pod.
async fn come_back(board: &Board, book: &Book, crowd: &Crowd) -> Result<Vec<CookieTry>> {
    board.phase("clients go and come back with their cookies");
    let http = Http::default();
    observe::look(&http, board).await;
    let before = accepted(board);
    let cookies: Vec<String> = board.pool(|pool| {
        let active = pool.pods.iter().filter(|(_, pod)| pod.state == "Active");
        active
            .filter_map(|(name, _)| pool.cookie_of(name).map(str::to_owned))
            .collect()
    });
    let sent: usize = cookies
        .iter()
        .map(|cookie| crowd.send_back(cookie, TRIES_PER_POD))
        .sum();
    wait(board, RETURN, "all clients with cookies are back", |_| {
        book.landings().len() >= sent
    })
    .await?;
    observe::look(&http, board).await;
    let after = accepted(board);
    let pods = board.pool(|pool| pool.cookies.clone());
    let tries = cookies::judge(&book.landings(), &pods, &before, &after);
    let returned = tries.iter().filter(|attempt| attempt.returned).count();
    board.note(format!(
        "{returned} of {} came back to their own pod",
        tries.len()
    ));
    Ok(tries)
}

fn accepted(board: &Board) -> BTreeMap<String, u64> {
    board.pool(|pool| {
        let said = pool
            .pods
            .iter()
            .filter_map(|(name, pod)| Some((name, pod.stats.as_ref()?)));
        said.map(|(name, stats)| (name.clone(), stats.accepted_total))
            .collect()
    })
}

/// All leave but a few on pods that are not needed any more: these will be asked to move.
async fn others_leave(board: &Board, book: &Book, crowd: &Crowd, first_pods: &BTreeSet<String>) {
    let new: Vec<String> = board.pool(|pool| {
        let new = pool.pods.keys().filter(|name| !first_pods.contains(*name));
        new.filter_map(|name| pool.cookie_of(name).map(str::to_owned))
            .collect()
    });
    let mut on_new: Vec<BTreeSet<usize>> = new
        .iter()
        .map(|cookie| crowd.passing(&book.holders(cookie), LINGER))
        .collect();
    // A pod that came last may have met nobody: the others keep more.
    on_new.sort_by_key(BTreeSet::len);
    let pods = on_new.len();
    let mut lingering = BTreeSet::new();
    for (at, clients) in on_new.into_iter().enumerate() {
        let share = (LINGER - lingering.len()) / (pods - at);
        lingering.extend(clients.into_iter().take(share));
    }
    board.phase(format!(
        "{} clients leave, {LEAVE_PER_SECOND} a second; {} stay on the new pods",
        RAMP - lingering.len(),
        lingering.len()
    ));
    while crowd.let_one_go(&lingering) {
        sleep(Duration::from_secs(1) / LEAVE_PER_SECOND).await;
    }
}

async fn shrink(stage: &Stage) -> Result<()> {
    stage
        .board
        .phase("the pool shrinks: pods drain, their remaining clients receive a request to reconnect");
    let minimum = stage.example.minimum();
    wait(&stage.board, SHRINK, "the pool is at its minimum", |pool| {
        pool.active() == minimum && pool.pods.len() == minimum && pool.status.draining_replicas == 0
    })
    .await
}

/// The last messages are sent and have arrived; when the record ends.
async fn fall_silent(board: &Board, book: &Book) -> Duration {
    board.phase("the last messages arrive");
    while book.glance().sent < LEAST_MESSAGES {
        sleep(Duration::from_millis(100)).await;
    }
    book.hush();
    sleep(ARRIVAL_BOUND * 2).await;
    book.since(Instant::now())
}

/// What pods, operator and proxies counted, once they agree with the clients, or as it is if they never do.
async fn agree(stage: &Stage, book: &Book) -> Counted {
    stage
        .board
        .phase("pods, operator and clients compare the numbers of requests to reconnect");
    let http = Http::default();
    let asked = || book.glance().asked;
    // When they never agree, the verdict says so.
    let _ = eventually(AGREE, "agreement", async || {
        observe::look(&http, &stage.board).await;
        let counted = counted(stage);
        let agreed = [counted.shed, counted.granted, counted.moved]
            .iter()
            .all(|count| *count == asked());
        Ok(agreed.then_some(()))
    })
    .await;
    counted(stage)
}

fn counted(stage: &Stage) -> Counted {
    stage.board.pool(|pool| Counted {
        shed: pool.sheds(),
        granted: pool.granted,
        moved: u64::try_from(pool.status.connections.moved_total).unwrap_or(0),
        reloads: pool.reloads(),
        pid_changes: pool.pid_changes(stage.example.proxies()),
    })
}
