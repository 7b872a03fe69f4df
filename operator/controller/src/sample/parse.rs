//! From what a pod answered to numbers that can be trusted: whatever is odd is no answer. Missing is never zero.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use wsc_core::observed::{AgentServer, AgentView, Refusal, Sample};

/// No process has more connections than this, and no count of a process that started lately is beyond 2^53: what says so is broken.
const MOST_CONNECTIONS: i64 = 10_000_000;
const LARGEST_COUNT: i64 = 1 << 53;
/// Identifiers of ours are far shorter.
const LONGEST_IDENTIFIER_BYTES: usize = 128;

#[derive(Deserialize)]
struct Stats {
    boot_id: String,
    pod: String,
    connections: i64,
    capacity: i64,
    cordoned: bool,
    refused: Refused,
    shed_total: i64,
    shed_target: i64,
    // A pod of release 0.1.0 names it so; it is read until its rollout is over.
    #[serde(alias = "bus")]
    broker: Broker,
}

#[derive(Deserialize)]
struct Refused {
    full: i64,
}

#[derive(Deserialize)]
struct Broker {
    up: bool,
}

/// Parses `/stats` of the pod with this name. An answer of another pod, as happens when an address is used again, is none.
pub(crate) fn stats(body: &[u8], pod: &str, pod_uid: &str, at: Timestamp) -> Result<Sample, String> {
    let stats: Stats = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if stats.pod != pod {
        return Err("another pod answered".to_owned());
    }
    if stats.boot_id.is_empty() || stats.boot_id.len() > LONGEST_IDENTIFIER_BYTES {
        return Err("boot_id is empty or too long".to_owned());
    }
    Ok(Sample {
        at,
        pod_uid: pod_uid.to_owned(),
        boot_id: stats.boot_id,
        connections: within("connections", stats.connections, MOST_CONNECTIONS)?,
        capacity: within("capacity", stats.capacity, MOST_CONNECTIONS)?,
        cordoned: stats.cordoned,
        refused_full: within("refused.full", stats.refused.full, LARGEST_COUNT)?,
        shed_total: within("shed_total", stats.shed_total, LARGEST_COUNT)?,
        shed_target: within("shed_target", stats.shed_target, LARGEST_COUNT)?,
        broker_up: stats.broker.up,
        zero_in_a_row: 0,
    })
}

#[derive(Deserialize)]
struct Status {
    haproxy_version: Option<String>,
    applied_hash: Option<String>,
    applied_structure: Option<String>,
    synced: bool,
    refusal: Option<RefusalBody>,
    servers: Vec<ServerBody>,
}

#[derive(Deserialize)]
struct RefusalBody {
    structure: String,
    message: String,
}

#[derive(Deserialize)]
struct ServerBody {
    name: String,
    state: String,
    up: bool,
    sessions: i64,
}

/// Parses an agent's `/status`.
pub(crate) fn agent(body: &[u8], at: Timestamp) -> Result<AgentView, String> {
    let status: Status = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut servers = BTreeMap::new();
    for server in status.servers {
        let view = AgentServer {
            sessions: within("sessions", server.sessions, MOST_CONNECTIONS)?,
            maint: server.state == "Maint",
            up: server.up,
        };
        servers.insert(server.name, view);
    }
    Ok(AgentView {
        at,
        haproxy_version: status.haproxy_version.unwrap_or_default(),
        applied_hash: status.applied_hash.unwrap_or_default(),
        applied_structure: status.applied_structure.unwrap_or_default(),
        synced: status.synced,
        refusal: status.refusal.map(|refusal| Refusal {
            structure: refusal.structure,
            message: refusal.message,
        }),
        servers,
    })
}

fn within(field: &str, value: i64, most: i64) -> Result<i64, String> {
    if (0..=most).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{field} is {value}, not 0 to {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"boot_id":"5f0c","pod":"chat-17","version":"0.1.0","uptime_ms":81234,"connections":120,"capacity":10000,
        "cordoned":false,"terminating":false,"accepted_total":300,"closed_total":180,
        "refused":{"full":7,"draining":0,"wrong_pod":0,"origin":0,"bad_request":0},
        "shed_total":3,"shed_target":4,"via":{"chat-proxy-6f":120},"broker":{"kind":"redis","up":true}}"#;

    fn parse(body: &str) -> Result<Sample, String> {
        stats(body.as_bytes(), "chat-17", "uid", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_answer_of_the_contract_is_understood() {
        let sample = parse(GOOD).unwrap();
        assert_eq!((sample.connections, sample.capacity), (120, 10_000));
        assert_eq!(
            (sample.refused_full, sample.shed_total, sample.shed_target),
            (7, 3, 4)
        );
        assert_eq!(
            (sample.boot_id.as_str(), sample.pod_uid.as_str()),
            ("5f0c", "uid")
        );
        assert!(sample.broker_up && !sample.cordoned);
    }

    #[test]
    fn stats_of_release_0_1_0_are_read() {
        let old = GOOD
            .replace("\"broker\"", "\"bus\"")
            .replace("\"terminating\"", "\"leaving\"");
        assert_eq!(parse(&old), parse(GOOD));
    }

    #[test]
    fn whatever_is_odd_is_missing_and_never_zero() {
        let with = |from: &str, to: &str| {
            assert!(GOOD.contains(from));
            GOOD.replace(from, to)
        };
        for body in [
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            "garbage".to_owned(),
            GOOD[..200].to_owned(),
            with("\"connections\":120", "\"connections\":NaN"),
            with("\"connections\":120", "\"connections\":null"),
            with("\"connections\":120", "\"connections\":\"120\""),
            with("\"connections\":120", "\"connections\":-1"),
            with("\"connections\":120", "\"connections\":1.5"),
            with("\"connections\":120", "\"connections\":1e300"),
            with("\"connections\":120", "\"connections\":99999999999999999999"),
            with("\"connections\":120", "\"connections\":9007199254740993"),
            with("\"connections\":120,", ""),
            with("\"capacity\":10000", "\"capacity\":-5"),
            with("\"shed_total\":3", "\"shed_total\":-3"),
            with("\"boot_id\":\"5f0c\"", "\"boot_id\":\"\""),
            with("\"pod\":\"chat-17\"", "\"pod\":\"chat-18\""),
            with("\"pod\":\"chat-17\"", "\"pod\":null"),
        ] {
            assert!(parse(&body).is_err(), "accepted: {body}");
        }
        let long = with("5f0c", &"x".repeat(LONGEST_IDENTIFIER_BYTES + 1));
        assert!(parse(&long).is_err());
    }

    #[test]
    fn an_agent_that_knows_nothing_yet_is_understood_and_nonsense_is_not() {
        let body = r#"{"version":"0.1.0","haproxy_version":"3.0.11","pid":12,"wanted_hash":"w","applied_hash":"a","wanted_structure":"s",
            "applied_structure":"t","refusal":{"structure":"s","message":"line 3"},"synced":true,"reloads":0,"pid_changes":0,
            "old_workers":0,"connections":512,"servers":[{"name":"chat-17","state":"Maint","up":true,"sessions":120}]}"#;
        let view = agent(body.as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
        let expected = AgentServer {
            sessions: 120,
            maint: true,
            up: true,
        };
        assert_eq!(view.servers["chat-17"], expected);
        assert_eq!(
            (view.applied_hash.as_str(), view.applied_structure.as_str()),
            ("a", "t")
        );
        assert_eq!(view.refusal.unwrap().message, "line 3");
        let empty = r#"{"haproxy_version":null,"applied_hash":null,"applied_structure":null,"refusal":null,"synced":false,"servers":[]}"#;
        let view = agent(empty.as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
        assert!(!view.synced && view.applied_hash.is_empty());
        let negative = body.replace("\"sessions\":120", "\"sessions\":-1");
        assert!(agent(negative.as_bytes(), Timestamp::UNIX_EPOCH).is_err());
        assert!(agent(b"[]", Timestamp::UNIX_EPOCH).is_err());
    }
}
