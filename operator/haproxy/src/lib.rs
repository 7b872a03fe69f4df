//! HAProxy as data: the configuration model and its text, the set of servers, the commands that turn what runs into what is
//! wanted, and the parsing of replies. No Kubernetes, no I/O.

mod backend;
mod config;
mod diff;
mod line;
mod names;
mod render;
mod running;
mod text;

pub use backend::{BACKEND, BackendSet, BackendSetError, Server, ServerOptions, ServerState};
pub use config::{Argument, Config, Directive, Section};
pub use diff::{Command, Step, diff, is_equal};
pub use line::{Failure, Line, lines, split_replies};
pub use names::{CookieName, NameError, Origin, ServerName};
pub use render::{ProxySettings, RenderedConfig, SameSite, Sticky, Timeouts, render};
pub use running::{
    Info, ReplyError, RunningServer, RunningState, Workers, parse_info, parse_stat, parse_workers,
};
pub use text::{Published, PublishedError, structure_of, with_servers, with_servers_of};

#[cfg(test)]
mod tests;
