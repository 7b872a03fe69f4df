//! The server's control port: the statistics document, the shed request and the error body.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::close::{CloseCode, CloseCodeError};

/// `GET /stats`; `/cordon` and `/shed` return it too.
///
/// The operator needs the fields that have no default here. A server that omits one of the others
/// can still be drained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stats {
    /// Identifies the process: another value after each start.
    pub boot_id: String,
    /// Name of the pod; null outside Kubernetes.
    pub pod: Option<String>,
    /// Version of the server.
    #[serde(default)]
    pub version: String,
    /// Milliseconds since the start of the process.
    #[serde(default)]
    pub uptime_ms: u64,
    /// Connections in use: open ones and handshakes in progress.
    pub connections: u64,
    /// Connections that the server accepts at most.
    pub capacity: u64,
    /// Whether `PUT /cordon` is in force: new handshakes are rejected with 503.
    pub cordoned: bool,
    /// Whether the process drains after SIGTERM; `leaving` in release 0.1.0.
    #[serde(default, alias = "leaving")]
    pub terminating: bool,
    /// Reason for which new handshakes are rejected; null while they are accepted, and in release
    /// 0.1.0.
    #[serde(default)]
    pub rejects: Option<Rejects>,
    /// Handshakes accepted since `boot_id`.
    #[serde(default)]
    pub accepted_total: u64,
    /// Connections closed since `boot_id`.
    #[serde(default)]
    pub closed_total: u64,
    /// Handshakes rejected since `boot_id`, by reason.
    pub refused: Refused,
    /// Connections that the server began to close because of `PUT /shed`, since `boot_id`.
    pub shed_total: u64,
    /// The `total` of the last accepted `PUT /shed`.
    pub shed_target: u64,
    /// Open connections by proxy pod; `direct` counts those without `X-Wsc-Via`, `other` those of
    /// proxy pods beyond the first 256.
    #[serde(default)]
    pub via: BTreeMap<String, u64>,
    #[serde(flatten, with = "broker_and_bus")]
    #[cfg_attr(feature = "schema", schemars(with = "broker_and_bus::Written<'static>"))]
    pub broker: Broker,
}

/// [`Stats::broker`] under the name of release 0.1.0 too: its pods send `bus` only, and after a
/// rollback its operator requires it.
mod broker_and_bus {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Broker;

    #[derive(Serialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    pub(super) struct Written<'a> {
        /// The message broker.
        broker: &'a Broker,
        /// The value of `broker` for operators of release 0.1.0; will be removed in release 0.3.0.
        bus: &'a Broker,
    }

    #[derive(Deserialize)]
    struct Read {
        broker: Option<Broker>,
        bus: Option<Broker>,
    }

    pub(super) fn serialize<S: Serializer>(broker: &Broker, to: S) -> Result<S::Ok, S::Error> {
        Written { broker, bus: broker }.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Broker, D::Error> {
        let Read { broker, bus } = Read::deserialize(from)?;
        broker.or(bus).ok_or_else(|| D::Error::missing_field("broker"))
    }
}

/// Why a server accepts no new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rejects {
    /// The process drains after SIGTERM.
    Terminating,
    /// `PUT /cordon` is in force.
    Cordoned,
    /// The memory limit is reached.
    Memory,
    /// All connections of `capacity` are in use.
    Full,
    /// A reason of a later release.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Other,
}

/// Rejected handshakes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Refused {
    /// No free connection slot, or no memory for more.
    pub full: u64,
    /// The server is cordoned or terminates.
    #[serde(default)]
    pub draining: u64,
    /// `X-Wsc-Server` named another pod.
    #[serde(default)]
    pub wrong_pod: u64,
    /// The origin is not allowed.
    #[serde(default)]
    pub origin: u64,
    /// The request is malformed.
    #[serde(default)]
    pub bad_request: u64,
}

/// State of the message broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Broker {
    /// `redis`, or `memory` for a single process.
    #[serde(default)]
    pub kind: String,
    /// Whether messages are delivered at the moment.
    pub up: bool,
}

/// `PUT /shed`: close connections, oldest first, until `shed_total` equals `total`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Shed {
    /// The addressed process; any other process returns 409.
    pub boot_id: String,
    /// Connections to have closed since `boot_id`: a repeat has no effect, a total at or below
    /// `shed_total` stops.
    pub total: u64,
    /// Closes per second, above 0 and finite; the server's own limit applies too.
    pub per_second: f64,
    /// Only connections that came through this proxy pod; null for all.
    #[serde(default)]
    pub via: Option<String>,
    /// Close frame of later sheds and of the drain after SIGTERM; null keeps the current one.
    /// Servers of release 0.1.0 ignore it.
    #[serde(default)]
    pub notice: Option<Notice>,
}

/// Content of the close frame that requests a client to reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Notice {
    /// Code of the close frame.
    pub close_code: u16,
    /// Upper bound of the random reconnect delay in its reason.
    pub jitter_seconds: u32,
}

/// A [`Shed`] request that the server rejects with 400.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ShedError {
    #[error("per_second must be above 0 and finite")]
    Rate,
    #[error("notice.close_code: {0}")]
    CloseCode(#[from] CloseCodeError),
    #[error("notice.jitter_seconds must be at most {}", Notice::MAX_JITTER_SECONDS)]
    Jitter,
}

/// The body of every error, on the control port and before a WebSocket upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorBody {
    /// Error code, for programs.
    pub error: Cow<'static, str>,
    /// Error message, for people.
    pub message: Cow<'static, str>,
}

impl Stats {
    /// The document of a pod in use, for the reference.
    pub fn example() -> Self {
        Self {
            boot_id: "5f0c3a9be2d14c77".to_owned(),
            pod: Some("chat-17".to_owned()),
            version: "0.1.0".to_owned(),
            uptime_ms: 81_234,
            connections: 120,
            capacity: 10_000,
            cordoned: false,
            terminating: false,
            rejects: None,
            accepted_total: 300,
            closed_total: 180,
            refused: Refused::default(),
            shed_total: 3,
            shed_target: 3,
            via: BTreeMap::from([("chat-proxy-6f9c-x2x".to_owned(), 119), ("direct".to_owned(), 1)]),
            broker: Broker {
                kind: "redis".to_owned(),
                up: true,
            },
        }
    }
}

impl Shed {
    /// A request for 40 connections, for the reference.
    pub fn example() -> Self {
        Self {
            boot_id: "5f0c3a9be2d14c77".to_owned(),
            total: 40,
            per_second: 5.0,
            via: None,
            notice: Some(Notice {
                close_code: CloseCode::SERVICE_RESTART.get(),
                jitter_seconds: 30,
            }),
        }
    }

    /// Checks what the types leave open.
    pub fn check(&self) -> Result<(), ShedError> {
        if !self.per_second.is_finite() || self.per_second <= 0.0 {
            return Err(ShedError::Rate);
        }
        let Some(notice) = self.notice else {
            return Ok(());
        };
        CloseCode::try_from(notice.close_code)?;
        if notice.jitter_seconds > Notice::MAX_JITTER_SECONDS {
            return Err(ShedError::Jitter);
        }
        Ok(())
    }
}

impl Notice {
    pub const MAX_JITTER_SECONDS: u32 = 3600;
}

impl ErrorBody {
    /// `error` and `message` of a 404, equal in proxy and server.
    pub const NOT_FOUND: (&str, &str) = ("not_found", "path not found");

    /// The body of a 404.
    pub fn not_found() -> Self {
        let (error, message) = Self::NOT_FOUND;
        Self {
            error: error.into(),
            message: message.into(),
        }
    }

    /// An error of a cordoned server, for the reference.
    pub fn example() -> Self {
        Self {
            error: "draining".into(),
            message: "the server is draining; no new connections".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &str = concat!(
        r#"{"boot_id":"5f0c3a9be2d14c77","pod":"chat-17","version":"0.1.0","uptime_ms":81234,"connections":120,"capacity":10000,"#,
        r#""cordoned":false,"terminating":false,"rejects":null,"accepted_total":300,"closed_total":180,"#,
        r#""refused":{"full":0,"draining":0,"wrong_pod":0,"origin":0,"bad_request":0},"shed_total":3,"shed_target":3,"#,
        r#""via":{"chat-proxy-6f9c-x2x":119,"direct":1},"broker":{"kind":"redis","up":true},"#,
        r#""bus":{"kind":"redis","up":true}}"#,
    );

    #[test]
    fn documents_serialize_as_documented() {
        assert_eq!(serde_json::to_string(&Stats::example()).unwrap(), STATS);
        let shed = r#"{"boot_id":"5f0c3a9be2d14c77","total":40,"per_second":5.0,"via":null,"notice":{"close_code":1012,"jitter_seconds":30}}"#;
        assert_eq!(serde_json::to_string(&Shed::example()).unwrap(), shed);
        let error = r#"{"error":"draining","message":"the server is draining; no new connections"}"#;
        assert_eq!(serde_json::to_string(&ErrorBody::example()).unwrap(), error);
        assert_eq!(serde_json::from_str::<Stats>(STATS).unwrap(), Stats::example());
        assert_eq!(serde_json::from_str::<Shed>(shed).unwrap(), Shed::example());
        assert_eq!(
            serde_json::from_str::<ErrorBody>(error).unwrap(),
            ErrorBody::example()
        );
    }

    #[test]
    fn statistics_of_0_1_0_are_read() {
        let old = STATS
            .replace("\"broker\":{\"kind\":\"redis\",\"up\":true},", "")
            .replace("\"terminating\":", "\"leaving\":")
            .replace("\"rejects\":null,", "");
        assert!(!old.contains("broker"));
        assert_eq!(serde_json::from_str::<Stats>(&old).unwrap(), Stats::example());
        let next = STATS.replace("\"bus\":", "\"other\":");
        assert_eq!(serde_json::from_str::<Stats>(&next).unwrap(), Stats::example());
    }

    /// What the operator of release 0.1.0 requires, in its types.
    #[allow(dead_code, reason = "the operator of 0.1.0 reads these fields")]
    #[derive(Deserialize)]
    struct Stats010 {
        boot_id: String,
        pod: String,
        connections: i64,
        capacity: i64,
        cordoned: bool,
        refused: Refused010,
        shed_total: i64,
        shed_target: i64,
        bus: Bus010,
    }

    #[allow(dead_code, reason = "the operator of 0.1.0 reads these fields")]
    #[derive(Deserialize)]
    struct Refused010 {
        full: i64,
    }

    #[derive(Deserialize)]
    struct Bus010 {
        up: bool,
    }

    #[test]
    fn operator_of_0_1_0_reads_statistics() {
        for up in [true, false] {
            let mut stats = Stats::example();
            stats.broker.up = up;
            let text = serde_json::to_string(&stats).unwrap();
            assert_eq!(serde_json::from_str::<Stats010>(&text).unwrap().bus.up, up);
        }
    }

    #[test]
    fn needed_fields_suffice() {
        let least = r#"{"boot_id":"b","pod":"chat-1","connections":2,"capacity":9,"cordoned":true,"refused":{"full":0},
            "shed_total":0,"shed_target":5,"broker":{"up":true}}"#;
        let stats: Stats = serde_json::from_str(least).unwrap();
        assert_eq!(
            (stats.connections, stats.shed_target, stats.broker.up),
            (2, 5, true)
        );
        for needed in [
            "boot_id",
            "connections",
            "capacity",
            "cordoned",
            "refused",
            "shed_total",
            "shed_target",
            "broker",
        ] {
            let without = least.replace(&format!("\"{needed}\":"), "\"other\":");
            assert!(
                serde_json::from_str::<Stats>(&without).is_err(),
                "{needed} is not needed"
            );
        }
    }

    #[test]
    fn unknown_reasons_reject_too() {
        for (word, rejects) in [("memory", Rejects::Memory), ("later", Rejects::Other)] {
            let text = STATS.replace("\"rejects\":null", &format!("\"rejects\":\"{word}\""));
            assert_eq!(
                serde_json::from_str::<Stats>(&text).unwrap().rejects,
                Some(rejects)
            );
        }
    }

    #[test]
    fn implausible_numbers_are_rejected() {
        for bad in ["-1", "1.5", "1e300", "null", "\"120\"", "99999999999999999999"] {
            let text = STATS.replace("\"connections\":120", &format!("\"connections\":{bad}"));
            assert!(serde_json::from_str::<Stats>(&text).is_err(), "{bad}");
        }
    }

    #[test]
    fn shed_needs_a_positive_rate() {
        for (per_second, is_good) in [
            (0.1, true),
            (0.0, false),
            (-1.0, false),
            (f64::NAN, false),
            (f64::INFINITY, false),
        ] {
            let shed = Shed {
                per_second,
                ..Shed::example()
            };
            assert_eq!(shed.check().is_ok(), is_good, "{per_second}");
        }
        let without_via = r#"{"boot_id":"b","total":1,"per_second":1}"#;
        assert_eq!(serde_json::from_str::<Shed>(without_via).unwrap().via, None);
    }
}
