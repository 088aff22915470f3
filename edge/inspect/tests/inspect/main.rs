//! The real binary against buffers that the store wrote: whole, damaged, alive, unreadable in part.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    unreachable_pub,
    reason = "a test stops where it fails, in its helpers too"
)]

mod damage;
mod golden;
mod live;
mod world;
