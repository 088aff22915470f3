//! Samples as DDS delivered them: their type is not known yet, or their bytes do not fit it. They stay in the lane
//! `parked` of this buffer, are never shipped, and become records when an IDL file or a writer brings the type.

use std::sync::Arc;

use efd_shared_model::bytes::{ByteError, Reader, Writer};
use efd_shared_model::{LaneKind, UtcNanos};
use efd_shared_store::{Position, Reader as Buffer};

use crate::binding::Offered;
use crate::commit::lane_name;

/// Topic of the stream that holds them.
pub const PARKED_TOPIC: &str = "efd.parked";

pub const PARKED_SCHEMA: &str = r#"{"name":"efd.parked","type":"record","fields":[{"name":"reason","type":"string"},{"name":"dds_topic","type":"string"},{"name":"dds_type","type":"string"},{"name":"received_utc","type":"long","units":"nanosecond"},{"name":"source_utc","type":"long","units":"nanosecond","description":"-1: the writer gave none"},{"name":"keeps_history","type":"boolean"},{"name":"payload","type":"bytes","description":"CDR with its encapsulation header"}],"description":"Samples without a type, or that do not fit it."}"#;

/// Names and payloads are bounded by DDS; this bounds what a damaged length can ask for.
const BYTES_MAX: usize = 16 << 20;

/// What is parked, as far as it matters to who reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParkedKind {
    pub dds_type: Arc<str>,
    pub dds_topic: Arc<str>,
    pub keeps_history: bool,
}

impl ParkedKind {
    pub fn of(parked: &Parked<'_>) -> Self {
        Self {
            dds_type: parked.dds_type.into(),
            dds_topic: parked.dds_topic.into(),
            keeps_history: parked.keeps_history,
        }
    }

    pub fn offered(&self) -> Offered<'_> {
        Offered {
            dds_topic: &self.dds_topic,
            dds_type: &self.dds_type,
            keeps_history: self.keeps_history,
        }
    }

    /// Up to here samples of the kind have become records, as SAL's or as others.
    pub fn read_through(&self, reader: &Buffer) -> Position {
        let of = |lane, key: &str| {
            let (_, value) = reader.state(&lane_name(lane), key)?;
            value.try_into().ok().map(u64::from_le_bytes).map(Position)
        };
        let sal = sal_progress_key(&self.dds_type);
        let general = general_progress_key(&self.dds_type);
        let lane = self.offered().kind().lane();
        [
            of(LaneKind::Events, &sal),
            of(LaneKind::Telemetry, &sal),
            of(lane, &general),
        ]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(Position::NONE)
    }
}

/// Under this key the transactions of a SAL type's records tell how far the lane `parked` has been read for it.
pub fn sal_progress_key(dds_type: &str) -> String {
    format!("parked/{dds_type}")
}

/// The same of another type: in each lane for the topics whose records go there.
pub fn general_progress_key(dds_type: &str) -> String {
    format!("parked/{dds_type}//general")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkedReason {
    /// No IDL file has the type, and its writer did not say.
    Untyped,
    /// The bytes do not fit the type.
    Undecodable,
}

impl ParkedReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Untyped => "untyped",
            Self::Undecodable => "undecodable",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parked<'a> {
    pub reason: ParkedReason,
    pub dds_topic: &'a str,
    pub dds_type: &'a str,
    pub received: UtcNanos,
    pub source: Option<UtcNanos>,
    pub keeps_history: bool,
    pub payload: &'a [u8],
}

impl<'a> Parked<'a> {
    /// Appends the Avro datum by [`PARKED_SCHEMA`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self {
            reason,
            dds_topic,
            dds_type,
            received,
            source,
            keeps_history,
            payload,
        } = *self;
        let mut writer = Writer::new();
        for text in [reason.as_str(), dds_topic, dds_type] {
            writer.zigzag(text.len() as i64);
            writer.raw(text.as_bytes());
        }
        writer.zigzag(received.0);
        writer.zigzag(source.map_or(-1, |source| source.0));
        writer.u8(keeps_history.into());
        writer.zigzag(payload.len() as i64);
        out.extend_from_slice(writer.as_bytes());
        out.extend_from_slice(payload);
    }

    pub fn decode(datum: &'a [u8]) -> Result<Self, ByteError> {
        fn blob<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], ByteError> {
            let length = usize::try_from(reader.zigzag()?)
                .ok()
                .filter(|&length| length <= BYTES_MAX);
            let length = length.ok_or_else(|| reader.invalid("length"))?;
            reader.take(length)
        }
        fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, ByteError> {
            let bytes = blob(reader)?;
            std::str::from_utf8(bytes).map_err(|_| reader.invalid("text"))
        }
        let mut reader = Reader::new(datum);
        let reason = match text(&mut reader)? {
            "untyped" => ParkedReason::Untyped,
            "undecodable" => ParkedReason::Undecodable,
            _ => return Err(reader.invalid("reason")),
        };
        let parked = Self {
            reason,
            dds_topic: text(&mut reader)?,
            dds_type: text(&mut reader)?,
            received: UtcNanos(reader.zigzag()?),
            source: Some(reader.zigzag()?)
                .filter(|&source| source >= 0)
                .map(UtcNanos),
            keeps_history: reader.u8()? != 0,
            payload: blob(&mut reader)?,
        };
        reader.finish()?;
        Ok(parked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back() {
        let parked = Parked {
            reason: ParkedReason::Untyped,
            dds_topic: "Test_scalars_0ad55b18",
            dds_type: "Test::scalars_0ad55b18",
            received: UtcNanos(5),
            source: None,
            keeps_history: true,
            payload: &[0, 1, 0, 0, 9],
        };
        let mut datum = Vec::new();
        parked.encode(&mut datum);
        assert_eq!(Parked::decode(&datum), Ok(parked));
        for end in 0..datum.len() {
            assert!(Parked::decode(&datum[..end]).is_err());
        }
    }
}
