//! What a stream is: its topic, its Avro schema by fingerprint of the full text, its kind.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::bytes::{ByteError, Reader, Writer};
use crate::ids::{LaneKind, StreamNumber};

pub const TOPIC_CHARS_MAX: usize = 255;
/// CCCamera's largest schema is 60 kB; this leaves room for types ten times that size.
pub const SCHEMA_BYTES_MAX: usize = 1 << 20;

/// SHA-256 of an Avro schema's full text: units and descriptions matter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The first eight hexadecimal digits, for names that people read.
    pub fn short(&self) -> String {
        self.0[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.short())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        if text.len() != 64 || !text.is_ascii() {
            return Err(FingerprintError);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| FingerprintError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| FingerprintError)?;
        }
        Ok(Self(bytes))
    }
}

/// An Avro schema's text with its fingerprint, which cannot disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    fingerprint: Fingerprint,
    text: Arc<str>,
}

impl Schema {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        Self {
            fingerprint: Fingerprint::of(&text),
            text,
        }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What kind of topic it is decides its lane and whether it may be averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TopicKind {
    Telemetry = 0,
    Event = 1,
    Command = 2,
    AckCmd = 3,
    /// The project's own: losses.
    Loss = 4,
    /// Samples as DDS delivered them.
    Parked = 5,
    /// The project's own: statistics in the place of telemetry that had to leave.
    Reduced = 6,
}

impl TopicKind {
    pub fn from_u8(byte: u8) -> Option<Self> {
        [
            Self::Telemetry,
            Self::Event,
            Self::Command,
            Self::AckCmd,
            Self::Loss,
            Self::Parked,
            Self::Reduced,
        ]
        .get(usize::from(byte))
        .copied()
    }

    /// Where its records go: everything but telemetry is small, precious and shipped first.
    pub fn lane(self) -> LaneKind {
        match self {
            Self::Telemetry => LaneKind::Telemetry,
            Self::Event | Self::Command | Self::AckCmd => LaneKind::Events,
            Self::Loss => LaneKind::Losses,
            Self::Parked => LaneKind::Parked,
            Self::Reduced => LaneKind::Reduced,
        }
    }
}

/// Says once per epoch what a [`StreamNumber`] stands for. Travels and is stored ahead of the blocks that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDeclaration {
    pub number: StreamNumber,
    /// The Avro record's full name and base of every public name: `lsst.sal.MTMount.elevation`.
    pub topic: String,
    /// `MTMount_elevation_1a2b3c4d`; empty for the project's own streams.
    pub dds_topic: String,
    /// `MTMount::elevation_1a2b3c4d`; empty for the project's own streams.
    pub dds_type: String,
    pub kind: TopicKind,
    pub schema: Fingerprint,
}

impl StreamDeclaration {
    pub fn write(&self, out: &mut Writer) {
        let Self {
            number,
            topic,
            dds_topic,
            dds_type,
            kind,
            schema,
        } = self;
        out.varint(number.0.into());
        out.text(topic);
        out.text(dds_topic);
        out.text(dds_type);
        out.u8(*kind as u8);
        out.raw(&schema.0);
    }

    pub fn read(reader: &mut Reader<'_>) -> Result<Self, ByteError> {
        let number = u32::try_from(reader.varint()?)
            .ok()
            .filter(|&number| number > 0);
        let number = StreamNumber(number.ok_or_else(|| reader.invalid("stream number"))?);
        let topic = reader
            .text("characters of a topic", TOPIC_CHARS_MAX)?
            .to_owned();
        let dds_topic = reader
            .text("characters of a topic", TOPIC_CHARS_MAX)?
            .to_owned();
        let dds_type = reader
            .text("characters of a type name", TOPIC_CHARS_MAX)?
            .to_owned();
        let kind = TopicKind::from_u8(reader.u8()?).ok_or_else(|| reader.invalid("topic kind"))?;
        let schema = Fingerprint(reader.array()?);
        Ok(Self {
            number,
            topic,
            dds_topic,
            dds_type,
            kind,
            schema,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_read_back() {
        let schema = Schema::new("{}");
        let text = schema.fingerprint().to_string();
        assert!(
            text.starts_with("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
            "{text}"
        );
        assert_eq!(text.parse(), Ok(schema.fingerprint()));
        assert_eq!("44".parse::<Fingerprint>(), Err(FingerprintError));
    }

    #[test]
    fn declarations_read_back() {
        let declaration = StreamDeclaration {
            number: StreamNumber(300),
            topic: "lsst.sal.MTMount.elevation".into(),
            dds_topic: "MTMount_elevation_1a2b3c4d".into(),
            dds_type: "MTMount::elevation_1a2b3c4d".into(),
            kind: TopicKind::Telemetry,
            schema: Fingerprint::of("{}"),
        };
        let mut out = Writer::new();
        declaration.write(&mut out);
        let mut reader = Reader::new(out.as_bytes());
        assert_eq!(StreamDeclaration::read(&mut reader), Ok(declaration));
        assert!(reader.finish().is_ok());
    }
}
