//! Parsing of HAProxy's replies. A reply that is truncated or unexpected is an error, never a
//! guess.

use std::collections::BTreeMap;

use thiserror::Error;

const STAT_COMMAND: &str = "show stat";
const CUT: ReplyError = ReplyError::Truncated {
    command: STAT_COMMAND,
};
/// Name of the row about the whole backend.
const TOTALS: &str = "BACKEND";

/// A reply that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    #[error("reply to {command:?} is truncated")]
    Truncated { command: &'static str },
    #[error("reply to {command:?} continues after its end")]
    Surplus { command: &'static str },
    #[error("reply to {command:?} has no field {field:?}")]
    Missing {
        command: &'static str,
        field: &'static str,
    },
    #[error("reply to {command:?}: field {field:?} is {value:?}")]
    Field {
        command: &'static str,
        field: &'static str,
        value: String,
    },
}

/// A server of the running HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningServer {
    pub name: String,
    /// `10.0.0.1:8080`, `[::1]:8080`.
    pub socket: String,
    pub cookie: String,
    pub state: RunningState,
    /// Open sessions, tunnels included.
    pub sessions: u64,
}

/// The administrative state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunningState {
    /// In rotation while its check passes.
    Ready { up: bool, checked: bool },
    /// `NOLB`: up, but its check is answered with 404, so it gets no new clients.
    Rejects,
    /// `maint`: no new clients, tunnels continue.
    Maint,
    /// `drain`, set by hand: clients with its cookie are still sent there.
    Drain,
}

/// `show stat`: the servers of the pool, and what the worker has counted for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStat {
    pub servers: Vec<RunningServer>,
    /// `econ` of the backend: requests that HAProxy answered with 503 itself.
    pub refused: u64,
    pub retries: u64,
    pub redispatches: u64,
    /// Requests in the queues of the backend and of its servers.
    pub queued: u64,
}

/// `show info`, the fields in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub version: String,
    pub pid: u32,
    pub max_connections: u64,
    pub open_files_limit: u64,
    pub connections: u64,
    /// Seconds since the worker started.
    pub uptime_seconds: u64,
    /// Unix time of the start of the worker; 0 before HAProxy 3.0.
    pub started_at: u64,
    /// Structure of the running configuration: its `description`.
    pub structure: Option<String>,
}

/// `show proc` on the master socket.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Workers {
    pub current: Option<u32>,
    pub old: Vec<u32>,
    /// Reloads since the master started.
    pub reloads: u64,
}

impl Info {
    /// `(3, 0)` of `3.0.11-1+deb13u5`.
    pub fn release(&self) -> Option<(u32, u32)> {
        let mut numbers = self.version.split(['.', '-']);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// Parses `show info`.
pub fn parse_info(reply: &str) -> Result<Info, ReplyError> {
    const COMMAND: &str = "show info";
    if !reply.ends_with("\n\n") {
        return Err(ReplyError::Truncated { command: COMMAND });
    }
    let fields: BTreeMap<&str, &str> = reply.lines().filter_map(|line| line.split_once(": ")).collect();
    let text = |field: &'static str| {
        fields.get(field).copied().ok_or(ReplyError::Missing {
            command: COMMAND,
            field,
        })
    };
    let number = |field: &'static str| {
        let value = text(field)?;
        value.parse::<u64>().map_err(|_| ReplyError::Field {
            command: COMMAND,
            field,
            value: value.to_owned(),
        })
    };
    Ok(Info {
        version: text("Version")?.to_owned(),
        pid: u32::try_from(number("Pid")?).map_err(|_| ReplyError::Missing {
            command: COMMAND,
            field: "Pid",
        })?,
        max_connections: number("Maxconn")?,
        open_files_limit: number("Ulimit-n")?,
        connections: number("CurrConns")?,
        uptime_seconds: number("Uptime_sec")?,
        started_at: number("Start_time_sec").unwrap_or(0),
        structure: fields.get("description").map(|text| (*text).to_owned()),
    })
}

/// Splits the reply to `show info;show stat …`, which one worker gives to both.
pub fn split_info_and_stat(reply: &str) -> Result<(&str, &str), ReplyError> {
    let end = reply
        .find("\n\n")
        .ok_or(ReplyError::Truncated { command: "show info" })?;
    Ok(reply.split_at(end + 2))
}

/// Parses `show stat <backend> 6 -1`: CSV with a header, terminated by an empty line.
pub fn parse_stat(reply: &str) -> Result<PoolStat, ReplyError> {
    let table = reply
        .strip_prefix("# ")
        .filter(|table| table.ends_with("\n\n"))
        .ok_or(CUT)?;
    // Records of unequal length are errors. A quoted field holds the text of a health check, which
    // the server chose.
    let newline = csv::Terminator::Any(b'\n');
    let mut records = csv::ReaderBuilder::new()
        .terminator(newline)
        .from_reader(table.as_bytes());
    let columns = Columns::new(records.headers().map_err(|_| CUT)?)?;
    let (mut servers, mut backend, mut queued) = (Vec::new(), None, 0_u64);
    for record in records.records() {
        let row = (&columns, &record.map_err(|_| CUT)?);
        queued = queued.saturating_add(number(row, "qcur")?);
        if text(row, "svname") == TOTALS {
            backend = Some((
                number(row, "econ")?,
                number(row, "wretr")?,
                number(row, "wredis")?,
            ));
        } else {
            servers.push(server(row)?);
        }
    }
    // The last row.
    let (refused, retries, redispatches) = backend.ok_or(CUT)?;
    Ok(PoolStat {
        servers,
        refused,
        retries,
        redispatches,
        queued,
    })
}

/// The columns in use, with their places.
struct Columns([(&'static str, usize); 9]);

impl Columns {
    const NAMES: [&'static str; 9] = [
        "svname", "qcur", "scur", "status", "addr", "cookie", "econ", "wretr", "wredis",
    ];

    fn new(header: &csv::StringRecord) -> Result<Self, ReplyError> {
        let mut columns = Self::NAMES.map(|name| (name, 0));
        for (field, place) in &mut columns {
            let found = header.iter().position(|name| name == *field);
            *place = found.ok_or(ReplyError::Missing {
                command: STAT_COMMAND,
                field,
            })?;
        }
        Ok(Self(columns))
    }
}

type Row<'a> = (&'a Columns, &'a csv::StringRecord);

fn text<'a>((columns, record): Row<'a>, field: &'static str) -> &'a str {
    let column = columns.0.iter().find(|(name, _)| *name == field);
    column
        .and_then(|(_, place)| record.get(*place))
        .unwrap_or_default()
}

fn number(row: Row<'_>, field: &'static str) -> Result<u64, ReplyError> {
    let text = text(row, field);
    text.parse().map_err(|_| invalid(field, text))
}

fn server(row: Row<'_>) -> Result<RunningServer, ReplyError> {
    let status = text(row, "status");
    Ok(RunningServer {
        name: text(row, "svname").to_owned(),
        socket: text(row, "addr").to_owned(),
        cookie: text(row, "cookie").to_owned(),
        state: state(status).ok_or_else(|| invalid("status", status))?,
        sessions: number(row, "scur")?,
    })
}

fn invalid(field: &'static str, value: &str) -> ReplyError {
    ReplyError::Field {
        command: STAT_COMMAND,
        field,
        value: value.to_owned(),
    }
}

/// `UP`, `UP 1/2`, `DOWN`, `DOWN 1/2`, `DOWN (agent)`, `NOLB`, `NOLB 1/2`, `MAINT`,
/// `MAINT (via x)`, `DRAIN`, `DRAIN 1/2`, `no check`.
fn state(status: &str) -> Option<RunningState> {
    Some(match status.split(' ').next()? {
        "UP" => RunningState::Ready {
            up: true,
            checked: true,
        },
        "NOLB" => RunningState::Rejects,
        "DOWN" => RunningState::Ready {
            up: false,
            checked: true,
        },
        "no" => RunningState::Ready {
            up: true,
            checked: false,
        },
        "MAINT" => RunningState::Maint,
        "DRAIN" => RunningState::Drain,
        _ => return None,
    })
}

/// Parses `show proc` of the master socket.
pub fn parse_workers(reply: &str) -> Result<Workers, ReplyError> {
    const COMMAND: &str = "show proc";
    let mut workers = Workers::default();
    let mut old = false;
    let mut seen_master = false;
    for line in reply.lines() {
        if line.starts_with('#') {
            old = line.contains("old workers");
            continue;
        }
        let mut words = line.split_whitespace();
        let (Some(pid), Some(kind), reloads) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let pid = pid.parse().map_err(|_| ReplyError::Field {
            command: COMMAND,
            field: "PID",
            value: pid.to_owned(),
        })?;
        match kind {
            "master" => {
                seen_master = true;
                let value = reloads.unwrap_or_default();
                workers.reloads = value.parse().map_err(|_| ReplyError::Field {
                    command: COMMAND,
                    field: "reloads",
                    value: value.to_owned(),
                })?;
            }
            "worker" if old => workers.old.push(pid),
            "worker" => workers.current = Some(pid),
            _ => {}
        }
    }
    if seen_master {
        Ok(workers)
    } else {
        Err(ReplyError::Truncated { command: COMMAND })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "# pxname,svname,qcur,scur,econ,wretr,wredis,status,addr,cookie,\n\
        ws_pool,chat-1,1,3,0,0,0,UP 1/3,10.0.0.1:8080,ab,\n\
        ws_pool,chat-2,0,0,0,0,0,MAINT,[::1]:8080,cd,\n\
        ws_pool,chat-3,0,9,4,0,0,NOLB,10.0.0.3:8080,ef,\n\
        ws_pool,BACKEND,2,12,7,5,6,UP,,wsc,\n\n";

    const INFO: &str = "Name: HAProxy\nVersion: 3.0.11-1+deb13u5\nPid: 7\nUptime_sec: 4\nStart_time_sec: 1795796275\nMaxconn: 9973\n\
        Ulimit-n: 19999\nCurrConns: 2\nnode: x\ndescription: 00ff\n\n";

    #[test]
    fn servers_have_state_and_sessions() {
        let stat = parse_stat(STAT).unwrap();
        assert_eq!(
            (stat.refused, stat.retries, stat.redispatches, stat.queued),
            (7, 5, 6, 3)
        );
        let servers = stat.servers;
        assert_eq!(servers.len(), 3);
        assert_eq!(
            servers[0].state,
            RunningState::Ready {
                up: true,
                checked: true
            }
        );
        assert_eq!(servers[1].state, RunningState::Maint);
        assert_eq!(
            (servers[1].socket.as_str(), servers[1].cookie.as_str()),
            ("[::1]:8080", "cd")
        );
        assert_eq!(
            (servers[2].sessions, servers[2].state),
            (9, RunningState::Rejects)
        );
    }

    #[test]
    fn check_text_is_no_column() {
        let odd = "# svname,qcur,scur,econ,wretr,wredis,status,last_chk,addr,cookie,\n\
            chat-1,0,3,0,0,0,NOLB,\"he,l\"\"lo\nMAINT\",10.0.0.1:8080,ab,\n\
            BACKEND,0,3,0,0,0,UP,,,,\n\n";
        let servers = parse_stat(odd).unwrap().servers;
        assert_eq!(servers.len(), 1);
        assert_eq!(
            (servers[0].socket.as_str(), servers[0].sessions),
            ("10.0.0.1:8080", 3)
        );
    }

    #[test]
    fn truncated_statistics_are_rejected() {
        for end in 0..STAT.len() {
            assert!(parse_stat(&STAT[..end]).is_err(), "cut at {end}");
        }
        let (servers, _) = STAT.split_once("ws_pool,BACKEND").unwrap();
        assert!(
            parse_stat(&format!("{servers}\n")).is_err(),
            "the totals are missing"
        );
        let both = format!("{INFO}{STAT}");
        assert_eq!(split_info_and_stat(&both).unwrap(), (INFO, STAT));
        assert!(split_info_and_stat(&INFO[..INFO.len() - 1]).is_err());
    }

    #[test]
    fn info_has_release_and_structure() {
        let info = parse_info(INFO).unwrap();
        assert_eq!(info.release(), Some((3, 0)));
        assert_eq!(info.structure.as_deref(), Some("00ff"));
        assert_eq!(
            (
                info.pid,
                info.uptime_seconds,
                info.started_at,
                info.max_connections
            ),
            (7, 4, 1_795_796_275, 9973)
        );
        for end in 0..INFO.len() {
            assert!(parse_info(&INFO[..end]).is_err(), "cut at {end}");
        }
        assert_eq!(
            parse_info("Version: 3.0\n\n").unwrap_err().to_string(),
            "reply to \"show info\" has no field \"Pid\""
        );
    }

    #[test]
    fn old_workers_are_separate() {
        let reply = "#<PID>          <type>          <reloads>       <uptime>        <version>\n\
            5               master          2               0d00h00m08s     3.0.11\n# workers\n\
            9               worker          0               0d00h00m03s     3.0.11\n# old workers\n\
            7               worker          1               0d00h00m08s     3.0.11\n# programs\n\n";
        assert_eq!(
            parse_workers(reply).unwrap(),
            Workers {
                current: Some(9),
                old: vec![7],
                reloads: 2
            }
        );
        assert!(parse_workers("").is_err());
    }
}
