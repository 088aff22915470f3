//! The whole system as processes: one publisher, one edge, one centre, and a link between them that can be cut.
//!
//! In:  a folder to work in, the folder of the built programs, what is to be published.
//! Out: a [`Rig`] that starts, hurts, asks and stops them, and gives the account at the end.
//!
//! Absent: any code of the programs under test. The rig speaks to them as a user does: command lines, files, HTTP.

mod account;
mod oracles;
mod rig;

pub use account::Account;
pub use oracles::Oracles;
pub use rig::{Feed, Host, Log, Network, Rig, RigOptions, Sim};
