//! Produces to a Kafka cluster: the records of all topics that a broker leads go to it in one request.
//!
//! librdkafka puts one partition into a request (its issue 1700). A broker takes the requests of a connection one after the
//! other, so that with thousands of topics, each with a record now and then, the number of requests is the limit, in latency
//! and in records. Here each broker has one request under way, with everything that came while the one before was.
//!
//! In:  records by [`Producer::send`], made visible to the brokers by [`Producer::flush`]. Out: an [`Ack`] for each, by
//!      [`Producer::poll`].
//!
//! Absent: transactions, partitions other than 0, the making of topics, reading, and any retry that could put a record
//! into its topic twice.
//!
//! Invariants:
//! - Records of a topic are appended in the order of `send`, each at most once: a producer identity, a sequence for each
//!   topic, one batch of a topic under way, and the same bytes again wherever the answer is missing (KIP-98).
//! - An answer after which nobody knows what arrived is [`Fatal`]: the producer is done.
//! - Nothing is given up by time, except a topic that does not exist.
//! - After [`Producer::purge`] nothing is sent any more.
//! - What waits is bounded by [`Limits`].

mod answer;
mod batch;
mod core;
mod link;
mod run;
mod scram;
mod tls;
mod wire;

pub use answer::{Ack, Fatal, Refusal, SendError};
pub use batch::{Record, TopicIx};
pub use core::Limits;
pub use link::LinkError;
pub use run::Producer;
