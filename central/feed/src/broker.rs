//! The seam to Kafka: topics, reading back, producing. `kafka.rs` is the real one, `memory` the twin for tests.

#[cfg(test)]
pub(crate) mod memory;

use std::time::Duration;

use efd_central_log::Class;
use efd_shared_model::{RecordId, UtcNanos};

use crate::wire::SchemaId;

/// An output topic by its number within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OutputIx(pub u32);

/// Comes back with the acknowledgement: which block in flight, which record of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub slot: u32,
    pub index: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub output: OutputIx,
    pub topic: &'a str,
    /// `salIndex`: the key, in decimal.
    pub instance: Option<i32>,
    pub schema: SchemaId,
    pub id: RecordId,
    pub event_time: UtcNanos,
    pub class: Class,
    pub datum: &'a [u8],
    pub token: Token,
}

/// Why a record is certainly not in its topic, and who is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This record (too large): others of the topic may pass.
    Record(String),
    /// The topic (gone, forbidden): no other will pass either.
    Output(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub output: OutputIx,
    pub token: Token,
    /// The record's offset.
    pub result: Result<i64, Refusal>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BrokerError {
    /// Nothing was lost: the same call may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// Nobody knows which of the records in flight arrived: begin a new session and read back.
    #[error("{0}")]
    Fatal(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    /// By us, in this call: it is empty.
    Created,
    Existed,
    Refused(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// Acknowledgements must be taken first.
    Full,
    Refused(Refusal),
    Failed(BrokerError),
}

/// What of a topic is to be read back: from `from`, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub topic: String,
    pub from: Option<i64>,
}

/// A record met while reading back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    /// Which of the spans.
    pub span: usize,
    pub offset: i64,
    /// `None` for a record that no feed wrote.
    pub id: Option<RecordId>,
    /// The event time, of a record of a feed.
    pub time: Option<UtcNanos>,
    /// By the broker's clock; `None` where the topic does not keep it.
    pub appended: Option<UtcNanos>,
}

/// One connection. Records of a topic are appended in the order of [`Self::send`], each at most once, until
/// a [`BrokerError::Fatal`] ends the connection.
pub(crate) trait Broker {
    /// Sees to it that the topics exist, and are known without a further round trip; an answer for each, in order.
    fn ensure(&mut self, topics: &[&str]) -> Result<Vec<Ensured>, BrokerError>;

    /// Reads each span to the end of its topic; returns the ends, and of a topic that may not be read why. The first call of a connection waits until the ends
    /// stand still: requests of the connection before may still be on their way through the broker. A span that begins
    /// behind the end of its topic (it was made anew) is read from its beginning.
    fn read_back(
        &mut self,
        spans: &[Span],
        met: &mut dyn FnMut(Met),
    ) -> Result<Vec<Result<i64, String>>, BrokerError>;

    /// Queues a record; after [`Self::flush`] its [`Ack`] comes by [`Self::poll`], exactly one.
    fn send(&mut self, record: &Outgoing<'_>) -> Result<(), SendError>;

    /// Sends what was queued.
    fn flush(&mut self);

    /// Adds what was acknowledged to `acks`; waits up to `wait` for a first one.
    fn poll(&mut self, wait: Duration, acks: &mut Vec<Ack>) -> Result<(), BrokerError>;

    /// Why no acknowledgement comes, where that is known.
    fn trouble(&self) -> Option<String>;
}
