//! From the log to public Kafka topics, each record once for ordinary consumers, without transactions.
//!
//! In:  blocks of the central log, with the streams and schemas that were declared for them.
//! Out: one Kafka record per record, in Confluent's wire format, in the topic of its site and stream; its schema stands
//!      in the registry before it. [`wire`] has the headers that name each record.
//!
//! How it is exactly once: a [checkpoint](checkpoint) says every few seconds which blocks are wholly in the topics
//! ([`Progress`](efd_central_log::Progress)) and, for each topic, the offset up to which everything belongs to such
//! blocks. Whatever happens (a crash, an error after which nobody knows what arrived), the next session reads every
//! topic from that offset to its end, remembers the identities it finds, and leaves those out when the blocks behind
//! the checkpoint come again.
//!
//! Invariants:
//! * A block is in the checkpoint's progress only when the broker has acknowledged each of its records, or the record
//!   is in the same checkpoint as *owed* to an output that refuses it.
//! * A record that was produced and whose block is not in the checkpoint lies at or behind its output's offset there.
//! * Where a schema's records go is durable before the first of them is produced.
//! * A checkpoint that cannot be read is moved aside, and the feed begins without: that costs reading, not records.
//! * Memory is bounded: blocks in flight, records in flight, and ranges owed all have limits.
//!
//! Absent: what the records mean, HTTP servers, tokio. Only `kafka` and `public.rs` name rdkafka, only `registry/http.rs` ureq.
//!
//! Files in the order of the data: `session` takes blocks, routes and sends them; `account` is the book of what was
//! sent, acknowledged and owed (pure); `checkpoint` is its durable form; `broker` and `registry` are the seams;
//! `public` reads what came of it, for whoever asks.

mod account;
mod broker;
pub mod checkpoint;
mod feed;
mod folder;
mod kafka;
mod options;
mod probe;
mod public;
mod registry;
mod route;
mod session;
mod status;
mod store;
pub mod wire;

pub use feed::{Feed, FeedError, Stop};
pub use options::{FeedOptions, OptionsError, RegistryAddress, TopicFormat, TopicSettings};
pub use probe::{Cluster, ProbeError, ask_brokers, ask_registry};
pub use public::{Found, Met, PublicError, PublicTopics, Recounted, Spot};
pub use route::{Route, RouteKey, Routes, plain_topic};
pub use status::{ParkedOutput, State, Status, StatusReader};

#[cfg(feature = "sabotage")]
pub use options::Sabotage;
