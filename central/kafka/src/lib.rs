//! What every client of a Kafka cluster needs around librdkafka.
//!
//! Invariant: no secret is in an error or a log line; librdkafka's own error has the value of a property that it refuses.
//!
//! Absent: topics, records, and what being exactly once rests on.

mod client;
mod fault;

pub use client::{Quiet, block_on, log};
pub use fault::{reason, retell};
