//! The operator is killed in the middle of its work, before or after the API server handles its
//! request, and the next one continues.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use http::Method;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use wsc_testing::cluster::eventually;
use wsc_testing::faults::{Call, HttpProxy, Upstream, Verdict};

use super::small;
use crate::support::chart::name;
use crate::support::environment::{KINDS, READY, TestEnv, controller, uid};
use crate::support::operator::start as start_operator;
use crate::support::watcher::Pods;
use crate::support::{SOON, differences};

const RESTARTS: usize = 20;
/// Of operator processes, until this number of them was killed.
const ROUNDS: usize = 4;
/// As many at the same time as two cores bear.
const AT_ONCE: usize = 5;

/// Kills an operator at one of its calls.
#[derive(Debug)]
struct Trap {
    /// The call, counted from the resource on; 0 for none.
    at: u64,
    /// Whether the API server does what this call asks for.
    after: bool,
    victim: Mutex<Option<Pid>>,
    calls: AtomicU64,
    sprung: AtomicBool,
    /// Answers that the fault proxy loses: one, where the call is done first.
    to_lose: AtomicU64,
}

impl Trap {
    fn new(at: u64, after: bool) -> Arc<Self> {
        Arc::new(Self {
            at,
            after,
            victim: Mutex::default(),
            calls: AtomicU64::new(0),
            sprung: AtomicBool::new(false),
            to_lose: AtomicU64::new(0),
        })
    }

    /// From now on calls count.
    fn arm(&self, victim: Pid) {
        *self.victim.lock() = Some(victim);
    }

    fn meet(&self, call: &Call) -> Verdict {
        let Some(victim) = *self.victim.lock() else {
            return Verdict::Pass;
        };
        if self.calls.fetch_add(1, Ordering::SeqCst) + 1 != self.at {
            return Verdict::Pass;
        }
        // A watch has no end to wait for, and changes nothing.
        let after = self.after && !call.path.contains("watch=true");
        // A process that stands still holds its connection, so that its call is not given up before
        // it is done.
        let signal = if after { Signal::STOP } else { Signal::KILL };
        let _ = kill_process(victim, signal);
        self.to_lose.store(after.into(), Ordering::SeqCst);
        self.sprung.store(true, Ordering::SeqCst);
        if after { Verdict::Lose } else { Verdict::Drop }
    }
}

/// One life of a cluster from apply to Ready, with a restart of the operator at that call.
async fn live(trap: &Arc<Trap>) -> Result<Value> {
    let env = TestEnv::new("restart").await;
    let seen = Pods::watch(&env.cluster, env.namespace());
    let upstream = Upstream::Kube(env.identity.client().await?);
    let meet = trap.clone();
    let proxy = HttpProxy::start(upstream, move |call| meet.meet(call)).await?;
    let kubeconfig = env.identity.through(&proxy.url())?;
    let mut operator = start_operator(&env.cluster, env.namespace(), env.namespace(), &kubeconfig, "")?;
    operator.until_ready(SOON).await?;
    trap.arm(operator.pid());
    env.create("chat", &small()).await?;
    let chat = eventually(READY, "the trap springs, or the cluster is ready", || async {
        if trap.sprung.load(Ordering::SeqCst) {
            return Ok(Some(None));
        }
        Ok(env.is_settled("chat").await?.map(Some))
    })
    .await?;
    let chat = if let Some(chat) = chat {
        chat
    } else {
        let lost = trap.to_lose.load(Ordering::SeqCst);
        eventually(READY, "the call is done", || async {
            Ok((proxy.lost() >= lost).then_some(()))
        })
        .await?;
        operator.kill()?;
        operator = start_operator(&env.cluster, env.namespace(), env.namespace(), &kubeconfig, "")?;
        env.settled("chat").await.with_context(|| operator.log())?
    };
    ensure!(
        (seen.most(), seen.ever()) == (2, 2),
        "{} pods at once, {} in all",
        seen.most(),
        seen.ever()
    );
    env.judge();
    state(&env, &chat).await
}

/// Everything there is, without what differs from one life to another.
async fn state(env: &TestEnv, chat: &Value) -> Result<Value> {
    let plain = Plain::of(env, chat).await?;
    let mut all = BTreeMap::new();
    for (kind, path) in KINDS {
        for object in env.list(path).await? {
            let name = plain.text(name(&object));
            if object["metadata"]["labels"]["websocket-operator.io/cluster"].is_null() {
                continue;
            }
            ensure!(
                controller(&object) == chat["metadata"]["uid"],
                "{kind} {name} is an orphan"
            );
            let mut content = json!({});
            for field in [
                "spec",
                "rules",
                "roleRef",
                "subjects",
                "type",
                "automountServiceAccountToken",
            ] {
                content[field] = plain.value(&object[field])?;
            }
            for field in ["clusterIP", "clusterIPs"] {
                content["spec"][field].take();
            }
            content["data"] = json!(
                object["data"]
                    .as_object()
                    .map(|data| data.keys().collect::<Vec<_>>())
            );
            if all.insert(format!("{kind}/{name}"), content).is_some() {
                bail!("{kind} {name} is there twice");
            }
        }
    }
    let pods = env.children(chat).await?;
    let pods = pods.iter().filter(|(name, _)| name.starts_with("Pod/"));
    let pods: Vec<_> = pods
        .map(|(_, pod)| &pod["metadata"]["labels"]["websocket-operator.io/state"])
        .collect();
    all.insert("server pods".to_owned(), json!(pods));
    all.insert("servers of HAProxy".to_owned(), servers(env).await?);
    all.insert("status".to_owned(), status(&plain, chat)?);
    Ok(json!(all))
}

/// Says things in the same words for every life.
struct Plain(Vec<(String, &'static str)>);

impl Plain {
    async fn of(env: &TestEnv, chat: &Value) -> Result<Self> {
        let secrets = env.list(KINDS[1].1).await?;
        let mut hashes = secrets
            .iter()
            .filter_map(|secret| name(secret).strip_prefix("chat-redis-"));
        let (Some(hash), None) = (hashes.next(), hashes.next()) else {
            bail!("not one password: {secrets:?}")
        };
        let revision = chat["status"]["updateRevision"]
            .as_str()
            .context("no updateRevision")?;
        Ok(Self(vec![
            (env.namespace().to_owned(), "NAMESPACE"),
            (uid(chat), "UID"),
            (hash.to_owned(), "HASH"),
            (revision.to_owned(), "REVISION"),
        ]))
    }

    fn text(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    fn value(&self, value: &Value) -> Result<Value> {
        Ok(serde_json::from_str(&self.text(&value.to_string()))?)
    }
}

async fn servers(env: &TestEnv) -> Result<Value> {
    let config = env
        .ask(Method::GET, &env.place("ConfigMap", "chat-haproxy"), None)
        .await?;
    let set: Value = serde_json::from_str(
        config["data"]["backends.json"]
            .as_str()
            .context("no backends.json")?,
    )?;
    let servers = set["servers"].as_array().into_iter().flatten();
    Ok(servers.map(|server| server["state"].clone()).collect())
}

fn status(plain: &Plain, chat: &Value) -> Result<Value> {
    let mut status = plain.value(&chat["status"])?;
    let fields = status.as_object_mut().context("no status")?;
    // A serial that was reserved and not used is lost; the decision is recorded with the time and
    // the names of pods.
    for field in ["nextSerial", "lastDecision"] {
        fields.remove(field);
    }
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"].take();
    }
    Ok(status)
}

#[tokio::test]
async fn killed_operator_reaches_the_same_state() {
    let seed = std::env::var("WSC_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("WSC_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let undisturbed = Trap::new(0, false);
    let wanted = live(&undisturbed).await.unwrap();
    let calls = undisturbed.calls.load(Ordering::SeqCst);
    assert!(calls > 20, "apply to Ready took {calls} calls only");
    let mut all: Vec<u64> = (1..=calls).collect();
    all.shuffle(&mut random);
    let mut due: Vec<u64> = all.into_iter().cycle().take(RESTARTS).collect();
    let (mut sprung, mut wrong) = (0, Vec::new());
    // The last calls of one life may not come in another, which then takes an earlier one.
    for _ in 0..ROUNDS {
        let traps: Vec<_> = due.iter().map(|at| Trap::new(*at, random.random())).collect();
        let lives = futures::stream::iter(&traps).map(|trap| async move { (trap, live(trap).await) });
        let lives: Vec<_> = lives.buffer_unordered(AT_ONCE).collect().await;
        due.clear();
        for (trap, state) in lives {
            if trap.sprung.load(Ordering::SeqCst) {
                sprung += 1;
            } else {
                due.push(random.random_range(1..=trap.at.div_ceil(2)));
            }
            let when = format!(
                "killed {} call {} of {calls}",
                if trap.after { "after" } else { "before" },
                trap.at
            );
            match state {
                Ok(state) => wrong.extend(
                    differences(&wanted, &state)
                        .into_iter()
                        .map(|what| format!("{when}: {what}")),
                ),
                Err(error) => wrong.push(format!("{when}: {error:#}")),
            }
        }
        println!("{calls} calls; {sprung} of {RESTARTS} restarts");
    }
    assert!(wrong.is_empty(), "WSC_SEED={seed}\n{}", wrong.join("\n"));
    assert_eq!(sprung, RESTARTS, "restarts");
}
