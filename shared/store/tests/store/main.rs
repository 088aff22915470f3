//! The store as its users see it: against a naive oracle, through power cuts, full and failing disks, flipped bits.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    unreachable_pub,
    reason = "a test stops where it fails, in its helpers too"
)]

mod api;
mod crash;
#[path = "../crash_vfs/mod.rs"]
mod crash_vfs;
mod damage;
mod faults;
mod fixture;
mod holes;
mod model;
mod retention;
mod world;
