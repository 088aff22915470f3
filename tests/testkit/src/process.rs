//! Processes under test: started, watched, hurt, measured, and never left behind.

mod daemon;
mod http;
mod log;
mod ports;
mod run;
mod spawn;
mod usage;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

pub use daemon::{Daemon, Signal};
pub use http::{HttpError, Response, get, post};
pub use log::Log;
pub use ports::Port;
pub(crate) use run::last_lines;
pub use run::{Captured, run};
pub use spawn::die_with_parent;
pub(crate) use spawn::typed;
pub use usage::Usage;

/// What can go wrong with a process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("start {name}: `{command}`")]
    Start {
        name: String,
        command: String,
        #[source]
        source: io::Error,
    },
    #[error("{name} ended ({status}) while waiting for {wanted}; end of {}:\n{tail}", log.display())]
    Ended {
        name: String,
        status: ExitStatus,
        wanted: String,
        log: PathBuf,
        tail: String,
    },
    #[error("{name}: no {wanted} within {waited:.1?}; end of {}:\n{tail}", log.display())]
    TimedOut {
        name: String,
        wanted: String,
        waited: Duration,
        log: PathBuf,
        tail: String,
    },
    #[error("{name}: {action}")]
    Control {
        name: String,
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("log {}", path.display())]
    Log {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} line(s) of {} complain:\n{}", lines.len(), path.display(), lines.join("\n"))]
    Complaints { path: PathBuf, lines: Vec<String> },
    #[error("`{command}` did not end within {limit:.0?}; its last words:\n{tail}")]
    Endless {
        command: String,
        limit: Duration,
        tail: String,
    },
    #[error("`{command}` printed more than {limit_bytes} bytes")]
    TooLong { command: String, limit_bytes: u64 },
}
