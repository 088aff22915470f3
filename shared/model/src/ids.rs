//! Identities. A record is named by (edge, epoch, lane, block, index); the name is given at commit and never reused.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::shard::Shard;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Uuid::from_bytes(self.0).hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self(*Uuid::parse_str(text)?.as_bytes()))
            }
        }
    };
}

uuid_id! {
    /// One appliance. A UUID, in its certificate.
    EdgeId
}
uuid_id! {
    /// One start of an edge's writer. Random, so that a restored backup or a cloned disk cannot reuse it.
    EpochId
}

/// The namespace of an edge: `summit`, `tucson`. Lower-case letters, digits, `-` and `_`, 1 to 32 of them, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(String);

pub const SITE_CHARS_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("site `{0}` is not 1 to {SITE_CHARS_MAX} of a-z, 0-9, `-`, `_`, beginning with a letter")]
pub struct SiteError(String);

impl Site {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Site {
    type Err = SiteError;
    fn from_str(text: &str) -> Result<Self, SiteError> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        if begins && text.len() <= SITE_CHARS_MAX && text.chars().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SiteError(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an ordered log at the edge holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LaneKind {
    /// Events, commands, acknowledgements: shipped before telemetry, kept longer.
    Events = 1,
    Telemetry = 2,
    /// Named absences. Never evicted.
    Losses = 3,
    /// Downsampled rows that stand in for evicted raw data.
    Reduced = 4,
    /// Samples as DDS delivered them, whose type is unknown or which could not be decoded. Never shipped.
    Parked = 5,
}

impl LaneKind {
    pub const ALL: [Self; 5] = [
        Self::Events,
        Self::Telemetry,
        Self::Losses,
        Self::Reduced,
        Self::Parked,
    ];

    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Telemetry => "telemetry",
            Self::Losses => "losses",
            Self::Reduced => "reduced",
            Self::Parked => "parked",
        }
    }

    /// Whether the centre gets it.
    pub fn is_shipped(self) -> bool {
        match self {
            Self::Events | Self::Telemetry | Self::Losses | Self::Reduced => true,
            Self::Parked => false,
        }
    }
}

/// An ordered log at the edge; split into shards by component where one is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    pub kind: LaneKind,
    pub shard: u16,
}

impl Lane {
    pub const fn new(kind: LaneKind) -> Self {
        Self { kind, shard: 0 }
    }

    /// Whether it holds one topic that is over its budget, apart from all others.
    pub fn is_diverted(self) -> bool {
        Shard::from_number(self.shard).is_diverted()
    }
}

impl fmt::Display for Lane {
    /// `telemetry`, or `telemetry.3` for a shard.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if self.shard > 0 {
            write!(f, ".{}", self.shard)
        } else {
            Ok(())
        }
    }
}

impl FromStr for Lane {
    type Err = LaneError;
    fn from_str(text: &str) -> Result<Self, LaneError> {
        let bad = || LaneError(text.chars().take(64).collect());
        let (kind, shard) = match text.split_once('.') {
            Some((kind, shard)) => (kind, shard.parse().map_err(|_| bad())?),
            None => (text, 0),
        };
        let kind = LaneKind::ALL
            .into_iter()
            .find(|k| k.as_str() == kind)
            .ok_or_else(bad)?;
        Ok(Self { kind, shard })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "lane `{0}` is not one of events, telemetry, losses, reduced, parked, with `.<shard>` where split"
)]
pub struct LaneError(String);

/// Counted from 1 without gaps within (epoch, lane).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNumber(pub u64);

impl BlockNumber {
    pub const FIRST: Self = Self(1);

    /// The number after this one. 2^64 blocks outlive the device.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for BlockNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stream within an epoch, counted from 1 without gaps. [`StreamDeclaration`](crate::StreamDeclaration) says what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamNumber(pub u32);

impl StreamNumber {
    pub const FIRST: Self = Self(1);

    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// An edge's ordered log within one epoch: what block numbers count in, and what range sets are kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochLane {
    pub edge: EdgeId,
    pub epoch: EpochId,
    pub lane: Lane,
}

impl EpochLane {
    pub fn block(self, number: BlockNumber) -> BlockId {
        BlockId { lane: self, number }
    }
}

impl fmt::Display for EpochLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.edge, self.epoch, self.lane)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not `edge/epoch/lane`")]
pub struct EpochLaneError(String);

impl FromStr for EpochLane {
    type Err = EpochLaneError;
    fn from_str(text: &str) -> Result<Self, EpochLaneError> {
        let parse = || {
            let mut parts = text.split('/');
            let lane = Self {
                edge: parts.next()?.parse().ok()?,
                epoch: parts.next()?.parse().ok()?,
                lane: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(lane)
        };
        parse().ok_or_else(|| EpochLaneError(text.chars().take(200).collect()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId {
    pub lane: EpochLane,
    pub number: BlockNumber,
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.lane, self.number)
    }
}

/// `index` counts the records of a block from 0, in the order of its sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    pub block: BlockId,
    pub index: u32,
}

impl fmt::Display for RecordId {
    /// `edge/epoch/lane/block/index`; [`FromStr`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.block, self.index)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record id `{0}` is not `edge/epoch/lane/block/index`")]
pub struct RecordIdError(String);

impl FromStr for RecordId {
    type Err = RecordIdError;
    fn from_str(text: &str) -> Result<Self, RecordIdError> {
        let parse = || {
            let mut parts = text.split('/');
            let log = EpochLane {
                edge: parts.next()?.parse().ok()?,
                epoch: parts.next()?.parse().ok()?,
                lane: parts.next()?.parse().ok()?,
            };
            let number = BlockNumber(parts.next()?.parse().ok()?);
            let index = parts.next()?.parse().ok()?;
            parts.next().is_none().then_some(Self {
                block: log.block(number),
                index,
            })
        };
        parse().ok_or_else(|| RecordIdError(text.chars().take(200).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites() {
        for good in ["summit", "tucson-2", "a", "base_x"] {
            assert_eq!(good.parse::<Site>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "Summit",
            "2nd",
            "a.b",
            "a/b",
            "über",
            "abcdefghijklmnopqrstuvwxyz0123456",
        ] {
            assert!(bad.parse::<Site>().is_err(), "{bad}");
        }
    }

    #[test]
    fn record_ids_read_back() {
        let log = EpochLane {
            edge: EdgeId([7; 16]),
            epoch: EpochId([9; 16]),
            lane: Lane {
                kind: LaneKind::Telemetry,
                shard: 3,
            },
        };
        let id = RecordId {
            block: log.block(BlockNumber(41)),
            index: 5,
        };
        assert!(id.to_string().ends_with("/telemetry.3/41/5"));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("x/y/z".parse::<RecordId>().is_err());
    }
}
