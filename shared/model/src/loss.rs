//! A loss: a named, counted absence. It travels as a record of the lane `losses` and ends as a row beside the data.

use std::fmt;

use crate::bytes::{ByteError, Reader, Writer};
use crate::time::UtcNanos;

/// Topic, and so table, of the losses.
pub const LOSS_TOPIC: &str = "efd.losses";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossReason {
    /// The publisher's sequence jumped while we were listening.
    DdsGap,
    /// The publisher's sequence jumped across a restart of the edge: in memory at a crash, or published while it was down.
    Crash,
    /// A publisher seen for the first time had numbered samples before.
    BeforeContact,
    /// Our own queue was full.
    QueueFull,
    /// The bytes do not fit the type.
    Undecodable,
    /// Kept without a type, and over the limit for such.
    Untyped,
    /// Removed by retention before the centre had it.
    Evicted,
    /// A block or a file on the disk was damaged.
    Corrupt,
    /// The centre's log passed a consumer.
    LogRetention,
}

impl LossReason {
    pub const ALL: [Self; 9] = [
        Self::DdsGap,
        Self::Crash,
        Self::BeforeContact,
        Self::QueueFull,
        Self::Undecodable,
        Self::Untyped,
        Self::Evicted,
        Self::Corrupt,
        Self::LogRetention,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::DdsGap => "dds_gap",
            Self::Crash => "crash",
            Self::BeforeContact => "before_contact",
            Self::QueueFull => "queue_full",
            Self::Undecodable => "undecodable",
            Self::Untyped => "untyped",
            Self::Evicted => "evicted",
            Self::Corrupt => "corrupt",
            Self::LogRetention => "log_retention",
        }
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What of a loss is not known or does not apply is empty text, an empty range (`first > last`) or −1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub reason: LossReason,
    /// `lsst.sal.MTMount.elevation`; empty where a whole lane is meant.
    pub topic: String,
    /// −1 where the component is not indexed.
    pub sal_index: i64,
    /// The publisher's `private_identity` and `private_origin`.
    pub identity: String,
    pub origin: i64,
    /// The publisher's `private_seqNum`, inclusive.
    pub first_seq: i64,
    pub last_seq: i64,
    /// Blocks of our own, inclusive: `epoch` and `lane` in their text form.
    pub epoch: String,
    pub lane: String,
    pub first_block: i64,
    pub last_block: i64,
    /// Samples or records; −1 where nobody can tell.
    pub count: i64,
    /// Span in which they were published or recorded, half-open.
    pub from: UtcNanos,
    pub until: UtcNanos,
    /// For people: the value and the limit.
    pub detail: String,
}

impl Loss {
    /// A loss of nothing yet: fill in what is known.
    pub fn new(reason: LossReason, from: UtcNanos, until: UtcNanos) -> Self {
        Self {
            reason,
            topic: String::new(),
            sal_index: -1,
            identity: String::new(),
            origin: -1,
            first_seq: 0,
            last_seq: -1,
            epoch: String::new(),
            lane: String::new(),
            first_block: 0,
            last_block: -1,
            count: -1,
            from,
            until,
            detail: String::new(),
        }
    }

    /// Appends the Avro datum by [`LOSS_SCHEMA`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self {
            reason,
            topic,
            sal_index,
            identity,
            origin,
            first_seq,
            last_seq,
            epoch,
            lane,
            ..
        } = self;
        let Self {
            first_block,
            last_block,
            count,
            from,
            until,
            detail,
            ..
        } = self;
        let mut writer = Writer::new();
        let text = |writer: &mut Writer, text: &str| {
            writer.zigzag(text.len() as i64);
            writer.raw(text.as_bytes());
        };
        text(&mut writer, reason.as_str());
        text(&mut writer, topic);
        writer.zigzag(*sal_index);
        text(&mut writer, identity);
        writer.zigzag(*origin);
        writer.zigzag(*first_seq);
        writer.zigzag(*last_seq);
        text(&mut writer, epoch);
        text(&mut writer, lane);
        for number in [*first_block, *last_block, *count, from.0, until.0] {
            writer.zigzag(number);
        }
        text(&mut writer, detail);
        out.extend_from_slice(writer.as_bytes());
    }

    /// Reads a datum that [`Self::encode`] wrote.
    pub fn decode(datum: &[u8]) -> Result<Self, ByteError> {
        const TEXT_MAX: usize = 1 << 16;
        fn text(reader: &mut Reader<'_>) -> Result<String, ByteError> {
            let length = usize::try_from(reader.zigzag()?)
                .ok()
                .filter(|&length| length <= TEXT_MAX);
            let bytes = reader.take(length.ok_or_else(|| reader.invalid("length of a text"))?)?;
            String::from_utf8(bytes.to_vec()).map_err(|_| reader.invalid("text"))
        }
        let mut reader = Reader::new(datum);
        let reason = text(&mut reader)?;
        let reason = LossReason::ALL
            .into_iter()
            .find(|known| known.as_str() == reason);
        let loss = Self {
            reason: reason.ok_or_else(|| reader.invalid("loss reason"))?,
            topic: text(&mut reader)?,
            sal_index: reader.zigzag()?,
            identity: text(&mut reader)?,
            origin: reader.zigzag()?,
            first_seq: reader.zigzag()?,
            last_seq: reader.zigzag()?,
            epoch: text(&mut reader)?,
            lane: text(&mut reader)?,
            first_block: reader.zigzag()?,
            last_block: reader.zigzag()?,
            count: reader.zigzag()?,
            from: UtcNanos(reader.zigzag()?),
            until: UtcNanos(reader.zigzag()?),
            detail: text(&mut reader)?,
        };
        reader.finish()?;
        Ok(loss)
    }
}

/// Field order is the datum's byte order; a change needs a new topic.
pub const LOSS_SCHEMA: &str = r#"{"name":"efd.losses","type":"record","fields":[{"name":"reason","type":"string","default":"","description":"Why it is absent","units":"unitless"},{"name":"topic","type":"string","default":"","description":"Topic; empty: a whole lane","units":"unitless"},{"name":"sal_index","type":"long","default":-1,"description":"salIndex; -1: not indexed","units":"unitless"},{"name":"identity","type":"string","default":"","description":"private_identity of the publisher","units":"unitless"},{"name":"origin","type":"long","default":-1,"description":"private_origin of the publisher","units":"unitless"},{"name":"first_seq","type":"long","default":0,"description":"First absent private_seqNum","units":"unitless"},{"name":"last_seq","type":"long","default":-1,"description":"Last absent private_seqNum","units":"unitless"},{"name":"epoch","type":"string","default":"","description":"Epoch of the absent blocks","units":"unitless"},{"name":"lane","type":"string","default":"","description":"Lane of the absent blocks","units":"unitless"},{"name":"first_block","type":"long","default":0,"description":"First absent block","units":"unitless"},{"name":"last_block","type":"long","default":-1,"description":"Last absent block","units":"unitless"},{"name":"count","type":"long","default":-1,"description":"Absent samples or records; -1: not known","units":"unitless"},{"name":"from_utc","type":"long","default":0,"description":"Begin of the span, UTC","units":"nanosecond"},{"name":"until_utc","type":"long","default":0,"description":"End of the span, UTC, exclusive","units":"nanosecond"},{"name":"detail","type":"string","default":"","description":"For people","units":"unitless"}],"description":"Named absences: what is missing and why."}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back() {
        let loss = Loss {
            topic: "lsst.sal.Test.scalars".into(),
            identity: "Test:1".into(),
            origin: 7,
            first_seq: 4,
            last_seq: 9,
            count: 6,
            detail: "übersprungen".into(),
            ..Loss::new(LossReason::DdsGap, UtcNanos(5), UtcNanos(9))
        };
        let mut datum = Vec::new();
        loss.encode(&mut datum);
        assert_eq!(Loss::decode(&datum), Ok(loss));
        for end in 0..datum.len() {
            assert!(Loss::decode(&datum[..end]).is_err());
        }
    }
}
