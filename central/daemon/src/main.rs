//! efd-central: from the edges to the log to the stores.
//!
//! In:  QUIC connections of edges, each with the certificate of its site. Out: a durable log of blocks, and its consumers:
//! public Kafka topics (the feed) and a lake of Parquet files.
//!
//! Invariants: nothing is acknowledged before it is durable in the log; no consumer can hold up ingest or another consumer;
//! an edge can speak for the site in its certificate only.

mod appender;
mod commands;
mod config;
mod connection;
mod fleet;
mod ingest;
mod ledger;
mod log;
mod meters;
mod queues;
mod roles;
mod room;
mod run;
#[cfg(feature = "sabotage")]
mod sabotage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use efd_shared_daemon::exit;
use efd_shared_daemon::logs::LogFormat;
use efd_shared_model::{EdgeId, Site};

/// Takes the blocks of many edges into a durable log, and feeds Kafka topics and a Parquet lake from it.
///
/// Start: `efd-central ca init`, `efd-central ca issue-central`, then `efd-central run`. At 3 a.m.: `efd-central status`.
#[derive(Debug, Parser)]
#[command(name = "efd-central", version, max_term_width = 100)]
struct Arguments {
    /// The configuration.
    #[arg(long, global = true, default_value_os_t = config::default_path().to_owned())]
    config: PathBuf,
    /// Overrides one value: `--set lake.commit_every=10s`. Before it: variables `EFD_CENTRAL__LAKE__COMMIT_EVERY=10s`.
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
    /// Ingest, log, feed and lake; until SIGTERM, which drains and commits.
    Run {
        /// What this process does, in place of the configuration's `roles`: ingest, feed, lake, ledger.
        #[arg(long, value_delimiter = ',')]
        roles: Vec<config::Role>,
        /// Faults for tests: `ack-early`, `no-dedup`, `die-after-append`, `die-before-checkpoint`.
        #[cfg(feature = "sabotage")]
        #[arg(long = "sabotage")]
        sabotage: Vec<String>,
    },
    /// Would `run` work? Configuration, certificates, folders; Kafka and the registry are asked. Exit code 0 or 2.
    Check,
    /// The running daemon in one page. Exit code 0 well, 1 something needs a look, 2 no answer.
    Status {
        #[arg(long)]
        json: bool,
    },
    /// The edges that the running daemon has heard of.
    Edges {
        #[arg(long)]
        json: bool,
    },
    /// What was published, stored and lost, by topic and hour, and for every difference its reason. Exit code 0 where each
    /// has one, 1 where not, 2 without an answer.
    Account {
        #[arg(long)]
        site: Option<String>,
        /// `*` and `?` are wildcards.
        #[arg(long)]
        topic: Option<String>,
        /// 2026-11-24T06:00:00Z, or -2h for two hours ago; whole hours are told.
        #[arg(long, allow_hyphen_values = true)]
        from: Option<String>,
        /// Exclusive.
        #[arg(long, alias = "until", allow_hyphen_values = true)]
        to: Option<String>,
        /// The night that begins on this day, 20261127: from noon to noon, UTC.
        #[arg(long, value_name = "YYYYMMDD", conflicts_with_all = ["from", "to"])]
        day_obs: Option<String>,
        /// A row for each topic and hour, in place of one for each topic.
        #[arg(long)]
        hours: bool,
        /// Topics that are complete too.
        #[arg(long)]
        all: bool,
        /// Read the stores themselves and hold them against the book: log, lake and public topics. What is missing is asked for again.
        #[arg(long)]
        verify: bool,
        #[arg(long)]
        json: bool,
    },
    /// One sample's way, stamp by stamp: from its publisher to the edge, the log, the public topic and the lake; or where it
    /// ended. Exit code 0 where it is found, 1 where not, 2 without an answer.
    Trace {
        /// summit
        site: String,
        /// lsst.sal.MTMount.elevation
        topic: String,
        /// Its event time: 2026-11-24T06:00:00.125Z, or -5m for five minutes ago.
        #[arg(allow_hyphen_values = true)]
        time: String,
        /// So far from the time, each way; an hour at most. One second where nothing is said.
        #[arg(long, value_name = "SPAN")]
        within: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// The report of a night: completeness by component, losses, link and clocks.
    Report {
        /// The night that begins on this day, 20261127: from noon to noon, UTC.
        #[arg(long, value_name = "YYYYMMDD")]
        day_obs: String,
        #[arg(long)]
        site: Option<String>,
        /// A page that needs nothing from elsewhere, in place of text.
        #[arg(long)]
        html: bool,
    },
    /// The private certificate authority of edges and centre.
    Ca {
        /// Where certificates are.
        #[arg(global = true, long, default_value = "/etc/efd/certificates")]
        folder: PathBuf,
        #[command(subcommand)]
        command: CaCommand,
    },
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Make a new authority: ca.crt, which all get, and ca.key, which nobody else gets.
    Init {
        /// For people.
        #[arg(long, default_value = "EFD")]
        name: String,
        /// Days until it expires.
        #[arg(long, default_value_t = efd_shared_daemon::identity::ca::CA_DAYS)]
        days: u32,
    },
    /// Issue the certificate of an edge; it may write this site's names only.
    IssueEdge {
        #[arg(long)]
        site: Site,
        /// Its identity; a new one by default. Give the old one to renew.
        #[arg(long)]
        edge: Option<EdgeId>,
        #[arg(long, default_value_t = efd_shared_daemon::identity::ca::LEAF_DAYS)]
        days: u32,
    },
    /// Issue a certificate with which `efd-inspect send` ships the buffer of one dead edge, and nothing else.
    IssueRescue {
        #[arg(long)]
        site: Site,
        /// The dead edge; `efd-inspect ls` on its disk tells.
        #[arg(long)]
        edge: EdgeId,
        #[arg(long, default_value_t = efd_shared_daemon::identity::ca::RESCUE_DAYS)]
        days: u32,
    },
    /// Issue the certificate of a centre.
    IssueCentral {
        #[arg(long, default_value = "central")]
        name: String,
        /// DNS names and addresses under which edges connect to it.
        #[arg(long = "host", required = true)]
        hosts: Vec<String>,
        #[arg(long, default_value_t = efd_shared_daemon::identity::ca::LEAF_DAYS)]
        days: u32,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    exit::finish(commands::dispatch(arguments))
}
