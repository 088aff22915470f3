//! The log on a real cluster.

mod kit;
mod lease;
mod log;
