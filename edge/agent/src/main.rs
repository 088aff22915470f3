//! `efd-edge`: the command line.

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use efd_edge_agent::config;
use efd_shared_daemon::exit;
use efd_shared_daemon::logs::LogFormat;

/// Brings every sample of a DDS bus to the centre, exactly once, or names what is missing.
///
/// Start: `efd-edge check`, then `efd-edge run`. When something is wrong at 3 a.m.: `efd-edge status`.
#[derive(Debug, Parser)]
#[command(name = "efd-edge", version, max_term_width = 100)]
struct Arguments {
    /// The configuration.
    #[arg(long, global = true, default_value_os_t = config::default_path().to_owned())]
    config: PathBuf,
    /// Overrides one value: `--set buffer.retain=3d`. Before it: environment variables `EFD_EDGE__BUFFER__RETAIN=3d`.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// `json` or `text`; text on a terminal, JSON elsewhere.
    #[arg(long, global = true)]
    log: Option<LogFormat>,
    /// error, warn, info, debug or trace; also by the variable EFD_LOG.
    #[arg(long, global = true)]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Subscribe, record, ship; until SIGTERM.
    Run {
        /// Faults for tests: `no-fsync`, `announce-early`, `drop-one`, `flip-bit`.
        #[cfg(feature = "sabotage")]
        #[arg(long = "sabotage")]
        sabotage: Vec<String>,
    },
    /// Would `run` work? Configuration, certificates, buffer, IDL, and whether the centre answers.
    Check {
        /// Do not try the link.
        #[arg(long)]
        offline: bool,
    },
    /// The running daemon in one page. Exit code 0 well, 1 something needs a look, 2 no answer.
    Status {
        #[arg(long)]
        json: bool,
    },
    /// Print the Avro schema of every SAL topic of IDL files: one JSON object a line.
    Schema {
        /// IDL files, or folders of them.
        #[arg(required = true)]
        idl: Vec<PathBuf>,
    },
    /// What is on the bus: participants, writers, what they offer and how often they write, and what the daemon does with
    /// it, or why not. Exit code 1 where a writer of ours is not read, or none is there.
    Topics {
        /// Listen for so many seconds.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    exit::finish(commands::dispatch(arguments))
}
