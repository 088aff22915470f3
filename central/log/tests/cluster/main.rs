//! The log on a real cluster.

#![allow(
    clippy::unwrap_used,
    reason = "a test stops where it fails, in its helpers too"
)]

mod kit;
mod lease;
mod log;
