//! What is complained of, and in which words.

use efd_shared_model::UtcNanos;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A publisher's stamps are off our clock.
    Clock,
    /// A telemetry topic that had a rate has stopped.
    Silent,
    /// A telemetry topic comes at another rate than it did.
    Rate,
    /// A topic that makes most of all bytes, and did not before.
    Flood,
    /// Most values are NaN or infinite, and were not before.
    NotFinite,
    /// The numbers that witness losses do not advance.
    Sequence,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Clock,
        Self::Silent,
        Self::Rate,
        Self::Flood,
        Self::NotFinite,
        Self::Sequence,
    ];

    /// As `/status` and the metric have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Silent => "silent",
            Self::Rate => "rate",
            Self::Flood => "flood",
            Self::NotFinite => "not_finite",
            Self::Sequence => "sequence",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub kind: Kind,
    /// `lsst.sal.MTMount.elevation`; of a clock, the topic that was looked at last when it began.
    pub topic: String,
    /// `MTMount:1`, as the publisher calls itself.
    pub identity: String,
    pub since: UtcNanos,
    /// In the unit of `limit`.
    pub value: f64,
    pub limit: f64,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Began(Finding),
    /// As it was at last.
    Ended(Finding),
}

/// The figure and the words of a finding.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) value: f64,
    pub(super) limit: f64,
    pub(super) text: String,
}

/// Whom a finding is about. Of two of one name, the index tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    pub(super) topic: String,
    identity: Vec<u8>,
    sal_index: Option<i32>,
}

impl Subject {
    pub(super) fn new(topic: &str, identity: &[u8], sal_index: Option<i32>) -> Self {
        Self {
            topic: topic.to_owned(),
            identity: identity.to_owned(),
            sal_index,
        }
    }

    /// A topic, whoever publishes it.
    pub(super) fn flood(topic: &str) -> Self {
        Self::new(topic, b"", None)
    }
}

/// `found`: or it is well.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) kind: Kind,
    pub(super) subject: Subject,
    pub(super) identity: String,
    pub(super) since: UtcNanos,
    pub(super) found: Option<Found>,
}

/// `MTMount:1`; of types of the older generation, which do not say, only the index.
pub(super) fn publisher_name(identity: &[u8], sal_index: Option<i32>) -> String {
    match (identity, sal_index) {
        (b"", Some(index)) => format!("index {index}"),
        (b"", None) => "unnamed".to_owned(),
        (identity, _) => String::from_utf8_lossy(identity).into_owned(),
    }
}

pub(super) fn stuck(sequence: i64, repeated: u32, limit: u32) -> Found {
    Found {
        value: f64::from(repeated),
        limit: f64::from(limit),
        text: format!("private_seqNum stays at {sequence}: losses on the bus cannot be noticed"),
    }
}
