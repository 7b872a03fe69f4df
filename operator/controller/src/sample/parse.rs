//! From the response of a pod to plausible numbers: an implausible response is rejected. Missing is
//! never zero.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use wsc_contract::agent::{AgentStatus, ServerState, WorkerCounters};
use wsc_contract::control::Stats;
use wsc_core::observed::{AgentServer, AgentView, Sample};

/// No process has more connections, and no count of a process that started lately is beyond 2^53.
const MOST_CONNECTIONS: i64 = 10_000_000;
const LARGEST_COUNT: i64 = 1 << 53;
/// Ids of processes are far shorter.
const LONGEST_BOOT_ID_BYTES: usize = 128;

/// Why a response cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("invalid response: {0}")]
    Json(#[from] serde_json::Error),
    /// As happens when an address is used again.
    #[error("the response is from another pod")]
    OtherPod,
    #[error("boot_id is empty or longer than {LONGEST_BOOT_ID_BYTES} bytes")]
    BootId,
    #[error("worker.id is empty or longer than {LONGEST_BOOT_ID_BYTES} bytes")]
    WorkerId,
    #[error("{field} is {value}, not 0 to {most}")]
    OutOfRange {
        field: &'static str,
        value: u64,
        most: i64,
    },
}

/// Parses `/stats` of the pod with this name.
pub(crate) fn stats(body: &[u8], pod: &str, pod_uid: &str, at: Timestamp) -> Result<Sample, AnswerError> {
    let stats: Stats = serde_json::from_slice(body)?;
    if stats.pod.as_deref() != Some(pod) {
        return Err(AnswerError::OtherPod);
    }
    if stats.boot_id.is_empty() || stats.boot_id.len() > LONGEST_BOOT_ID_BYTES {
        return Err(AnswerError::BootId);
    }
    Ok(Sample {
        at,
        pod_uid: pod_uid.to_owned(),
        boot_id: stats.boot_id,
        connections: within("connections", stats.connections, MOST_CONNECTIONS)?,
        capacity: within("capacity", stats.capacity, MOST_CONNECTIONS)?,
        admits: stats.rejects.is_none(),
        cordoned: stats.cordoned,
        refused_full: within("refused.full", stats.refused.full, LARGEST_COUNT)?,
        shed_total: within("shed_total", stats.shed_total, LARGEST_COUNT)?,
        shed_target: within("shed_target", stats.shed_target, LARGEST_COUNT)?,
        broker_up: stats.broker.up,
        zero_in_a_row: 0,
    })
}

/// Parses an agent's `/status`; `None` if it has read nothing from HAProxy. The view is as old as
/// what was read: an agent whose HAProxy does not reply sends its last list of servers, which must
/// age like that of an agent that does not respond.
pub(crate) fn agent(body: &[u8], at: Timestamp) -> Result<Option<AgentView>, AnswerError> {
    let status: AgentStatus = serde_json::from_slice(body)?;
    if status.haproxy_version.is_empty() {
        return Ok(None);
    }
    // Release 0.1.0 does not send it.
    let age = i64::try_from(status.observed_ms_ago.unwrap_or(0)).unwrap_or(i64::MAX);
    let observed_at = at.checked_sub(SignedDuration::from_millis(age));
    let servers = status.servers.into_iter().map(|server| {
        let view = AgentServer {
            sessions: within("sessions", server.sessions, MOST_CONNECTIONS)?,
            maint: server.state == ServerState::Maint,
            up: server.up,
            rejects: server.rejects,
        };
        Ok((server.name, view))
    });
    Ok(Some(AgentView {
        at: observed_at.unwrap_or(Timestamp::MIN),
        haproxy_version: status.haproxy_version,
        applied_hash: status.applied_hash,
        applied_structure: status.applied_structure,
        applied_settings: status.applied_settings,
        synced: status.synced,
        worker: status.worker.map(plausible).transpose()?,
        servers: servers.collect::<Result<_, AnswerError>>()?,
        refusal: status.refusal,
    }))
}

fn plausible(worker: WorkerCounters) -> Result<WorkerCounters, AnswerError> {
    if worker.id.is_empty() || worker.id.len() > LONGEST_BOOT_ID_BYTES {
        return Err(AnswerError::WorkerId);
    }
    within("worker.refused", worker.refused, LARGEST_COUNT)?;
    Ok(worker)
}

fn within(field: &'static str, value: u64, most: i64) -> Result<i64, AnswerError> {
    let plausible = i64::try_from(value).ok().filter(|value| *value <= most);
    plausible.ok_or(AnswerError::OutOfRange { field, value, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"boot_id":"5f0c","pod":"chat-17","version":"0.1.0","uptime_ms":81234,"connections":120,"capacity":10000,
        "cordoned":false,"terminating":false,"accepted_total":300,"closed_total":180,
        "refused":{"full":7,"draining":0,"wrong_pod":0,"origin":0,"bad_request":0},
        "shed_total":3,"shed_target":4,"via":{"chat-proxy-6f":120},"broker":{"kind":"redis","up":true}}"#;

    fn parse(body: &str) -> Result<Sample, AnswerError> {
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
        assert!(sample.broker_up && !sample.cordoned && sample.admits);
        let full = GOOD.replace(
            "\"terminating\":false",
            "\"terminating\":false,\"rejects\":\"memory\"",
        );
        assert!(!parse(&full).unwrap().admits);
    }

    #[test]
    fn stats_of_0_1_0_are_read() {
        let old = GOOD
            .replace("\"broker\"", "\"bus\"")
            .replace("\"terminating\"", "\"leaving\"");
        assert_ne!(old, GOOD);
        assert_eq!(parse(&old).unwrap(), parse(GOOD).unwrap());
    }

    #[test]
    fn invalid_values_are_missing_and_never_zero() {
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
        let long = with("5f0c", &"x".repeat(LONGEST_BOOT_ID_BYTES + 1));
        assert!(parse(&long).is_err());
    }

    #[test]
    fn agent_view_is_dated_by_its_observation() {
        let parsed = |observed: &str| {
            let body = format!(
                r#"{{"haproxy_version":"3.0.11",{observed}"refusal":null,"synced":true,"servers":[]}}"#
            );
            agent(body.as_bytes(), Timestamp::UNIX_EPOCH).unwrap().unwrap().at
        };
        let ago = |milliseconds| Timestamp::UNIX_EPOCH - SignedDuration::from_millis(milliseconds);
        assert_eq!(parsed(r#""observed_ms_ago":16500,"#), ago(16_500));
        assert_eq!(parsed(""), ago(0), "an agent of release 0.1.0");
        let endless = format!(r#""observed_ms_ago":{},"#, u64::MAX);
        assert_eq!(parsed(&endless), Timestamp::MIN);
        let unread =
            r#"{"observed_ms_ago":null,"haproxy_version":"","refusal":null,"synced":false,"servers":[]}"#;
        assert_eq!(agent(unread.as_bytes(), Timestamp::UNIX_EPOCH).unwrap(), None);
    }

    #[test]
    fn release_0_1_0_agent_status_parses() {
        let body = r#"{"version":"0.1.0","haproxy_version":"3.0.11","pid":12,"wanted_hash":"w","applied_hash":"a","wanted_structure":"s",
            "applied_structure":"t","refusal":{"structure":"s","message":"line 3"},"synced":true,"reloads":0,"pid_changes":0,
            "old_workers":0,"connections":512,"servers":[{"name":"chat-17","state":"Maint","up":true,"sessions":120}]}"#;
        let view = agent(body.as_bytes(), Timestamp::UNIX_EPOCH).unwrap().unwrap();
        let mut expected = AgentServer {
            sessions: 120,
            maint: true,
            up: true,
            rejects: false,
        };
        assert_eq!(view.servers["chat-17"], expected);
        assert_eq!(view.worker, None, "an agent of release 0.1.0");
        let counted = body
            .replace(
                "\"servers\":",
                r#""worker":{"id":"12-3","refused":7,"retries":0,"redispatches":1,"queued":0},"servers":"#,
            )
            .replace("\"up\":true", "\"up\":true,\"rejects\":true");
        let full = agent(counted.as_bytes(), Timestamp::UNIX_EPOCH).unwrap().unwrap();
        expected.rejects = true;
        assert_eq!(full.servers["chat-17"], expected);
        let worker = full.worker.unwrap();
        assert_eq!((worker.id.as_str(), worker.refused), ("12-3", 7));
        for (from, to) in [
            ("\"refused\":7", "\"refused\":-7"),
            ("\"refused\":7", "\"refused\":9007199254740993"),
            ("\"id\":\"12-3\"", "\"id\":\"\""),
        ] {
            let odd = counted.replace(from, to);
            assert_ne!(odd, counted);
            assert!(
                agent(odd.as_bytes(), Timestamp::UNIX_EPOCH).is_err(),
                "accepted: {odd}"
            );
        }
        assert_eq!(
            (view.applied_hash.as_str(), view.applied_structure.as_str()),
            ("a", "t")
        );
        assert_eq!(view.refusal.unwrap().message, "line 3");
        let negative = body.replace("\"sessions\":120", "\"sessions\":-1");
        assert!(agent(negative.as_bytes(), Timestamp::UNIX_EPOCH).is_err());
        assert!(agent(b"[]", Timestamp::UNIX_EPOCH).is_err());
    }
}
