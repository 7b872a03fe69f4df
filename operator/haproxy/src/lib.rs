//! HAProxy as data: the configuration and its text, the server set, the commands that turn the
//! running servers into the published ones, and the parsing of replies. No Kubernetes, no I/O.

mod backend;
mod config;
mod diff;
mod line;
mod names;
mod patterns;
mod render;
mod running;
mod settings;
mod text;

pub use backend::{BACKEND, BackendSet, BackendSetError, Server, ServerOptions};
pub use diff::{Command, Step, diff, is_equal};
pub use line::{Failure, Line, lines};
pub use names::NameError;
pub use patterns::{PatternError, PatternFile};
pub use render::{ProxySettings, RenderedConfig, SameSite, Sticky, Timeouts, render};
pub use running::{
    Info, PoolStat, ReplyError, RunningServer, RunningState, Workers, parse_info, parse_stat, parse_workers,
    split_info_and_stat,
};
pub use settings::{Settings, SettingsError};
pub use text::{Published, PublishedError, structure_of, with_servers, with_servers_of};

#[cfg(test)]
mod tests;
