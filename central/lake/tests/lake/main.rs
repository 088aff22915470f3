//! The lake against an oracle of values: whatever is in the log, and wherever the disk fails, each record is there once.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    unreachable_pub,
    reason = "a test stops where it fails, in its helpers too"
)]

mod audit;
#[path = "../../../../shared/arrow/tests/general/cells.rs"]
mod cells;
mod crash;
mod disk;
mod python;
mod read;
mod restore;
mod sabotage;
mod seek;
mod steps;
mod world;
