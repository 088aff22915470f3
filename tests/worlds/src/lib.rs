//! Both session machines against each other in virtual time: N edges, one centre, bad links, crashes of either side at
//! any step. One seed is one world, and replays exactly.
//!
//! In:  a [`Plan`] (how many edges, what may go wrong, which sabotage) and a seed.
//! Out: a [`Summary`], or the [`Breach`] of the law that was found and when.
//!
//! Frames and blocks travel as bytes, through the real codec. A disk keeps what was synced and loses the rest at a
//! crash; so does the centre's log. The laws ([`law`]) are checked at every step by an observer that sees both ends, and
//! once more when everything has healed.
//!
//! Absent: threads, clocks, sockets, SQLite, QUIC: those are tested where they are used.

mod centre;
mod disk;
mod edge;
pub mod law;
mod link;
mod plan;
mod random;
pub mod run;
mod world;

pub use law::Breach;
pub use plan::{Faults, Plan, Sabotage};
pub use world::{Delay, Failure, Summary, World};
