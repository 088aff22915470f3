//! The real binary against buffers that the store wrote: whole, damaged, alive, unreadable in part.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    unreachable_pub,
    reason = "a test stops where it fails, in its helpers too"
)]

mod account;
mod damage;
mod files;
mod follow;
mod golden;
mod kept;
mod live;
mod looks;
mod manual;
mod matrix;
mod misplaced;
mod parcel;
mod python;
mod repair;
mod tiers;
mod watch;
mod world;
