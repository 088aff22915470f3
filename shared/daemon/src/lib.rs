//! What both daemons' shells need: configuration text, logs, HTTP, certificates, clocks.
//!
//! In:  a TOML file, environment and flags; PEM files; signals; the kernel's clocks.
//! Out: typed configuration, log lines on standard error, an HTTP surface, rustls configurations, clock states.
//!
//! Absent: QUIC, DDS, Kafka, SQLite, and any decision about data. A daemon brings its own configuration type,
//! metrics and status; this crate carries them to the outside in the same way on both sides.
//!
//! Invariants: every queue has a limit; nothing here prints a secret; clocks are read in [`clock`] only;
//! what can be decided without effects (units, expiry, collapsing of lines) takes time as an argument.

pub mod clock;
pub mod config;
pub mod disk;
pub mod exit;
pub mod http;
pub mod identity;
pub mod idle;
pub mod logs;
pub mod metrics;
pub mod queues;
pub mod rate;
pub mod secret;
pub mod shutdown;
pub mod units;
pub mod when;
