//! The raw protocol: `{path}` is room `main`, `{path}/{room}` a room, `?echo=0` spares the sender
//! its own messages.

use wsc_contract::room::{self, RoomName};

use super::refusal::Refusal;

/// What a raw client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The room to join.
    pub room: RoomName,
    /// Whether its own messages come back to it.
    pub echo: bool,
}

/// Reads path and query of a request to a server that serves `prefix`.
///
/// # Errors
/// `NotFound` for a path that is not served, `BadRequest` for an invalid room name or parameter.
pub fn parse_target(prefix: &str, path: &str, query: Option<&str>) -> Result<Target, Refusal> {
    let rest = path.strip_prefix(prefix).ok_or(Refusal::NotFound)?;
    let name = match rest.strip_prefix('/') {
        None if rest.is_empty() => room::DEFAULT,
        Some(name) if !name.contains('/') => name,
        _ => return Err(Refusal::NotFound),
    };
    let room = RoomName::parse(name).map_err(|_| Refusal::BadRequest(room::RULE))?;
    Ok(Target {
        room,
        echo: parse_echo(query.unwrap_or_default())?,
    })
}

fn parse_echo(query: &str) -> Result<bool, Refusal> {
    let mut echo = None;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key != "echo" {
            continue;
        }
        if echo.is_some() {
            return Err(Refusal::BadRequest("duplicate query parameter echo"));
        }
        echo = match value {
            "0" => Some(false),
            "1" => Some(true),
            _ => return Err(Refusal::BadRequest("echo must be 0 or 1")),
        };
    }
    Ok(echo.unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str, query: Option<&str>) -> Result<(String, bool), Refusal> {
        parse_target("/ws", path, query).map(|t| (t.room.to_string(), t.echo))
    }

    #[test]
    fn paths_and_queries() {
        let ok = |room: &str, echo| Ok((room.to_owned(), echo));
        assert_eq!(target("/ws", None), ok("main", true));
        assert_eq!(target("/ws/lobby", Some("echo=0")), ok("lobby", false));
        assert_eq!(target("/ws/a:b~c", Some("token=x&echo=1&")), ok("a:b~c", true));
        for path in ["/", "/w", "/wsx", "/ws/a/b", "/WS", ""] {
            assert_eq!(target(path, None), Err(Refusal::NotFound), "{path}");
        }
        for path in [
            "/ws/",
            "/ws/a%20b",
            "/ws/{x}",
            &format!("/ws/{}", "x".repeat(129)),
        ] {
            assert!(
                matches!(target(path, None), Err(Refusal::BadRequest(_))),
                "{path}"
            );
        }
        for query in ["echo=2", "echo", "echo=", "echo=0&echo=0", "echo=0&echo=1"] {
            assert!(
                matches!(target("/ws", Some(query)), Err(Refusal::BadRequest(_))),
                "{query}"
            );
        }
    }
}
