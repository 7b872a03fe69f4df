//! The phases of a demo, in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::checker::Rules;
use super::cookies;
use super::dashboard::Dashboard;
use super::example::Example;
use super::install::{self, NAMESPACE};
use super::observe::{self, Observer};
use super::pool::Pool;
use super::record::{CookieTry, Counted, Pods, Record};
use super::report::Facts;
use wsc_testing::clients::{ClientPool, Pace, Recorder, record};
use wsc_testing::cluster::{Cluster, eventually};

/// Clients that stay for the whole demo and all publish.
pub(crate) const STEADY: usize = 54;
/// Clients that connect, receive, and close.
pub(crate) const RAMP: usize = 180;
/// Of these, the ones on new pods that stay until they have had to move.
pub(crate) const LINGER: usize = 16;

/// Of all clients that publish, together.
const MESSAGES_PER_SECOND: u32 = 8;
/// Clients that connect in a second, and that close.
const CONNECTS_PER_SECOND: u32 = 7;
const CLOSES_PER_SECOND: u32 = 10;
/// While new pods are awaited, a client visits this often, so that a pod is found soon after it is
/// ready.
const VISIT_INTERVAL: Duration = Duration::from_millis(100);
/// How long the pool stays at its largest: until its first pods have the two minutes that a pod has
/// to be old before it may leave.
const HOLD: Duration = Duration::from_secs(40);
/// From the end of that to the end of the demo, roughly.
const REST: Duration = Duration::from_secs(100);
/// Clients of each pod that close and reconnect with their cookie.
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

/// The room of the demo.
const ROOM: &str = "demo";

/// Deadlines of the phases, on a machine that is busy with something else too.
const READY: Duration = Duration::from_mins(3);
const CONNECT: Duration = Duration::from_mins(1);
const GROW: Duration = Duration::from_mins(3);
const RETURN: Duration = Duration::from_mins(1);
const SHRINK: Duration = Duration::from_mins(6);
/// For counters that are read once a second and a status that is written every five.
const AGREE: Duration = Duration::from_secs(20);

/// What a demo runs with.
pub(crate) struct Setup {
    /// The Kubernetes.
    pub(crate) cluster: Cluster,
    /// What is shown.
    pub(crate) dashboard: Arc<Dashboard>,
    /// What is applied.
    pub(crate) example: Example,
    /// The duration of the run to aim at.
    pub(crate) seconds: Option<u32>,
}

/// A demo that ran to its end.
pub(crate) struct Completed {
    /// What happened.
    pub(crate) record: Record,
    /// What it has to prove.
    pub(crate) rules: Rules,
    /// What else the report says.
    pub(crate) facts: Facts,
}

/// Runs the demo.
///
/// # Errors
/// When a state is not reached in time.
pub(crate) async fn run(setup: &Setup) -> Result<Completed> {
    let dashboard = &setup.dashboard;
    let (mut facts, _observer) = set_up(setup).await?;
    let first_pods: BTreeSet<String> = dashboard.pool(|pool| pool.pods.keys().cloned().collect());
    let at_first = dashboard.pool(|pool| pool.active());
    let endpoint = dashboard
        .pool(|pool| pool.status.endpoint.clone())
        .context("the status names no endpoint")?;
    let sticky = &setup.example.spec.proxy.sticky;
    let recorder = Arc::new(Recorder::new(
        dashboard.began(),
        &setup.example.name,
        &sticky.cookie_name,
    ));
    dashboard.show(&recorder);
    let mut clients = ClientPool::new(Arc::clone(&recorder), &endpoint, ROOM);
    connect_steady(dashboard, &mut clients).await?;
    connect_others(dashboard, &mut clients).await;
    grow(setup, &clients).await?;
    facts.first_connection =
        first_connection(dashboard, &recorder, &first_pods).context("no new pod received a client")?;
    hold(setup).await;
    let tries = reconnect_with_cookie(dashboard, &clients).await?;
    close_others(dashboard, &clients, &first_pods).await;
    shrink(setup).await?;
    let until = drain_messages(dashboard, &recorder).await;
    let counted = agree(setup, &recorder).await;
    let pods = dashboard.pool(|pool| Pods {
        minimum: setup.example.minimum(),
        at_first,
        peak: pool.peak,
        at_last: pool.active(),
    });
    dashboard.phase("all clients disconnect");
    clients.close_all().await?;
    let record = Record {
        clients: record::Record {
            until,
            ..recorder.record()
        },
        tries,
        counted,
        pods,
        timeline: dashboard.timeline(),
    };
    Ok(Completed {
        record,
        rules: rules(setup),
        facts,
    })
}

fn rules(setup: &Setup) -> Rules {
    Rules {
        arrival_bound: ARRIVAL_BOUND,
        least_messages: LEAST_MESSAGES,
        least_steady: LEAST_STEADY,
        least_tries: LEAST_TRIES,
        least_try_pods: LEAST_TRY_PODS,
        least_growth: LEAST_GROWTH,
        least_moved: LEAST_MOVED,
        moves_per_second: setup.example.moves_per_second(STEADY + RAMP),
    }
}

/// Installs everything and waits until it is ready; the answer has the versions and the time from
/// the apply on.
async fn set_up(setup: &Setup) -> Result<(Facts, Observer)> {
    let (dashboard, cluster) = (&setup.dashboard, &setup.cluster);
    dashboard.phase("two namespaces with the restricted Pod Security standard");
    install::prepare(cluster).await?;
    dashboard.phase("helm upgrade --install websocket-operator");
    install::install(cluster).await?;
    let observer = Observer::start(cluster, dashboard, &setup.example.name);
    dashboard.phase(format!("kubectl apply -n {NAMESPACE} -f docs/examples/demo.yaml"));
    let began = Instant::now();
    install::apply(cluster, &setup.example).await?;
    let mut ready = Duration::ZERO;
    eventually(READY, "the resource is Ready", || {
        let (is_ready, why) = dashboard.pool(|pool| pool.ready());
        ready = began.elapsed();
        std::future::ready(if is_ready {
            Ok(Some(()))
        } else {
            Err(anyhow::anyhow!(why))
        })
    })
    .await?;
    dashboard.note(format!("Ready {:.1} s after the apply", ready.as_secs_f64()));
    wait(dashboard, READY, "all pods of a quiet pool are Active", |pool| {
        pool.status.starting_replicas == 0
            && usize::try_from(pool.status.desired_replicas) == Ok(pool.active())
            && pool
                .proxies
                .values()
                .filter(|proxy| proxy.status.is_some())
                .count()
                == setup.example.proxies()
    })
    .await?;
    let haproxy = dashboard.pool(|pool| pool.haproxy_version().map(str::to_owned));
    let facts = Facts {
        kubernetes: install::kubernetes_version(cluster).await?,
        haproxy: haproxy.context("no agent reports HAProxy's version")?,
        redis: install::redis_version(cluster, &setup.example).await?,
        apply_to_ready: ready,
        ..Facts::default()
    };
    Ok((facts, observer))
}

async fn wait(
    dashboard: &Dashboard,
    deadline: Duration,
    what: &str,
    reached: impl Fn(&Pool) -> bool,
) -> Result<()> {
    let look = || std::future::ready(Ok(dashboard.pool(|pool| reached(pool)).then_some(())));
    eventually(deadline, what, look).await
}

async fn connect_steady(dashboard: &Dashboard, clients: &mut ClientPool) -> Result<()> {
    dashboard.phase(format!(
        "{STEADY} clients connect; each publishes, and receives what all publish"
    ));
    let count = u32::try_from(STEADY).unwrap_or(u32::MAX);
    let every = Duration::from_secs(1) * count / MESSAGES_PER_SECOND;
    for place in 0..count {
        let first = every * place / count;
        clients.join(Some(Pace { first, every }));
        sleep(Duration::from_secs(1) / (2 * CONNECTS_PER_SECOND)).await;
    }
    wait(dashboard, CONNECT, "all steady clients are connected", |_| {
        clients.recorder().totals().open >= STEADY
    })
    .await
}

async fn connect_others(dashboard: &Dashboard, clients: &mut ClientPool) {
    dashboard.phase(format!(
        "{RAMP} more clients connect, {CONNECTS_PER_SECOND} a second"
    ));
    for _ in 0..RAMP {
        clients.join(None);
        sleep(Duration::from_secs(1) / CONNECTS_PER_SECOND).await;
    }
}

/// Waits until the pool is as large as the clients need and each of its pods has received one.
async fn grow(setup: &Setup, clients: &ClientPool) -> Result<()> {
    setup.dashboard.phase("the pool grows");
    let grown = |pool: &Pool| {
        let met = |name: &String| {
            pool.cookie_of(name)
                .is_some_and(|cookie| clients.recorder().first_landed(cookie).is_some())
        };
        let counted = usize::try_from(pool.status.connections.current).unwrap_or(0);
        // The status leaves out changes below one percent.
        counted * 100 >= (STEADY + RAMP) * 98
            && pool.active() >= setup.example.minimum() + LEAST_GROWTH
            && pool.status.starting_replicas == 0
            && usize::try_from(pool.status.desired_replicas) == Ok(pool.active())
            && pool.pods.keys().all(met)
    };
    let visits = async {
        loop {
            clients.visit().await;
            sleep(VISIT_INTERVAL).await;
        }
    };
    tokio::select! {
        reached = wait(&setup.dashboard, GROW, "the pool has grown and each pod has met a client", grown) => reached,
        () = visits => Ok(()),
    }
}

/// The longest time between a new pod's Ready and its first connection.
fn first_connection(
    dashboard: &Dashboard,
    recorder: &Recorder,
    first_pods: &BTreeSet<String>,
) -> Option<Duration> {
    dashboard.pool(|pool| {
        let ready = pool.ready_at.iter();
        let new = ready.filter(|(name, _)| !first_pods.contains(*name));
        new.filter_map(|(name, ready_at)| {
            let met = recorder.first_landed(pool.cookie_of(name)?)?;
            Some(met.saturating_duration_since(*ready_at))
        })
        .max()
    })
}

async fn hold(setup: &Setup) {
    let rest = setup
        .seconds
        .map_or(Duration::ZERO, |seconds| Duration::from_secs(seconds.into()));
    let hold = rest
        .saturating_sub(REST + setup.dashboard.began().elapsed())
        .max(HOLD);
    setup
        .dashboard
        .phase(format!("the pool holds its clients for {} s", hold.as_secs()));
    sleep(hold).await;
}

/// Some clients of each pod close and reconnect with their cookie: each must reach its own pod.
async fn reconnect_with_cookie(dashboard: &Dashboard, clients: &ClientPool) -> Result<Vec<CookieTry>> {
    dashboard.phase("clients of each pod reconnect with their cookies");
    observe::look(dashboard).await;
    let before = accepted(dashboard);
    let cookies: Vec<String> = dashboard.pool(|pool| {
        let active = pool.pods.iter().filter(|(_, pod)| pod.state == "Active");
        active
            .filter_map(|(name, _)| pool.cookie_of(name).map(str::to_owned))
            .collect()
    });
    let sent: usize = cookies
        .iter()
        .map(|cookie| clients.reconnect_holders(cookie, TRIES_PER_POD))
        .sum();
    let recorder = clients.recorder();
    wait(
        dashboard,
        RETURN,
        "all clients with cookies have reconnected",
        |_| recorder.landings().len() >= sent,
    )
    .await?;
    observe::look(dashboard).await;
    let after = accepted(dashboard);
    let pods = dashboard.pool(|pool| pool.cookies.clone());
    let tries = cookies::judge(&recorder.landings(), &pods, &before, &after);
    let returned = tries.iter().filter(|attempt| attempt.returned).count();
    dashboard.note(format!(
        "{returned} of {} clients reconnected to their own pod",
        tries.len()
    ));
    Ok(tries)
}

fn accepted(dashboard: &Dashboard) -> BTreeMap<String, u64> {
    dashboard.pool(|pool| {
        let answered = pool
            .pods
            .iter()
            .filter_map(|(name, pod)| Some((name, pod.stats.as_ref()?)));
        answered
            .map(|(name, stats)| (name.clone(), stats.accepted_total))
            .collect()
    })
}

/// All close but a few on pods that are not needed any more: these will be asked to reconnect.
async fn close_others(dashboard: &Dashboard, clients: &ClientPool, first_pods: &BTreeSet<String>) {
    let new: Vec<String> = dashboard.pool(|pool| {
        let new = pool.pods.keys().filter(|name| !first_pods.contains(*name));
        new.filter_map(|name| pool.cookie_of(name).map(str::to_owned))
            .collect()
    });
    let mut on_new: Vec<BTreeSet<usize>> = new
        .iter()
        .map(|cookie| clients.transient(&clients.recorder().holders(cookie), LINGER))
        .collect();
    // The newest pod may have no client: the others keep more.
    on_new.sort_by_key(BTreeSet::len);
    let pods = on_new.len();
    let mut lingering = BTreeSet::new();
    for (at, on_pod) in on_new.into_iter().enumerate() {
        let share = (LINGER - lingering.len()) / (pods - at);
        lingering.extend(on_pod.into_iter().take(share));
    }
    dashboard.phase(format!(
        "{} clients disconnect, {CLOSES_PER_SECOND} a second; {} stay on the new pods",
        RAMP - lingering.len(),
        lingering.len()
    ));
    while clients.close_one(&lingering) {
        sleep(Duration::from_secs(1) / CLOSES_PER_SECOND).await;
    }
}

async fn shrink(setup: &Setup) -> Result<()> {
    setup
        .dashboard
        .phase("the pool shrinks: pods drain, their remaining clients receive a request to reconnect");
    let minimum = setup.example.minimum();
    wait(&setup.dashboard, SHRINK, "the pool is at its minimum", |pool| {
        pool.active() == minimum && pool.pods.len() == minimum && pool.status.draining_replicas == 0
    })
    .await
}

/// The last messages are sent and have arrived; when the record ends.
async fn drain_messages(dashboard: &Dashboard, recorder: &Recorder) -> Duration {
    dashboard.phase("the last messages arrive");
    while (recorder.totals().sent as u64) < LEAST_MESSAGES {
        sleep(Duration::from_millis(100)).await;
    }
    recorder.stop_publishing();
    sleep(ARRIVAL_BOUND * 2).await;
    recorder.since(Instant::now())
}

/// What pods, operator and proxies counted, once they agree with the clients, or as it is if they
/// never do.
async fn agree(setup: &Setup, recorder: &Recorder) -> Counted {
    setup
        .dashboard
        .phase("pods, operator and clients compare the numbers of requests to reconnect");
    let asked = || recorder.totals().asked;
    // When they never agree, the verdict says so.
    let _ = eventually(AGREE, "agreement", async || {
        observe::look(&setup.dashboard).await;
        let counted = counted(setup);
        let agreed = [counted.shed, counted.granted, counted.moved]
            .iter()
            .all(|count| *count == asked());
        Ok(agreed.then_some(()))
    })
    .await;
    counted(setup)
}

fn counted(setup: &Setup) -> Counted {
    setup.dashboard.pool(|pool| Counted {
        shed: pool.sheds(),
        granted: pool.granted,
        moved: u64::try_from(pool.status.connections.moved_total).unwrap_or(0),
        reloads: pool.reloads(),
        pid_changes: pool.pid_changes(setup.example.proxies()),
    })
}
