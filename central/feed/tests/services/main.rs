//! The feed against a real broker and a real registry: every topic is read back and compared, record by record.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod kills;
mod kit;
mod records;
