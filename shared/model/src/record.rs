//! One Avro datum with its stamps.

use crate::time::UtcNanos;

/// Which clock a record's event time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventTimeOrigin {
    /// `private_sndStamp`, the publisher's TAI clock, less the leap-second table's offset.
    SndStamp = 0,
    /// DDS source timestamp, the publisher's UTC clock.
    Source = 1,
    /// When the edge received it.
    Reception = 2,
}

/// Beside the datum in a block, so that a consumer files and keys a record without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordStamps {
    /// Where the record is filed in time, by the best clock there is: see `origin`.
    pub event_time: UtcNanos,
    pub origin: EventTimeOrigin,
    /// The publisher's stamp was 0, NaN, or a day ahead: kept in the datum as it is, not used for filing.
    pub implausible: bool,
    /// Some text was not UTF-8 and was taken as ISO-8859-1.
    pub latin1: bool,
    /// `salIndex` of an indexed component.
    pub instance: Option<i32>,
}

const ORIGIN_BITS: u8 = 0b11;
const IMPLAUSIBLE: u8 = 1 << 2;
const LATIN1: u8 = 1 << 3;
const INSTANCE: u8 = 1 << 4;
const KNOWN: u8 = ORIGIN_BITS | IMPLAUSIBLE | LATIN1 | INSTANCE;

impl RecordStamps {
    pub(crate) fn flags(&self) -> u8 {
        let Self {
            event_time: _,
            origin,
            implausible,
            latin1,
            instance,
        } = *self;
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        origin as u8
            | bit(implausible, IMPLAUSIBLE)
            | bit(latin1, LATIN1)
            | bit(instance.is_some(), INSTANCE)
    }

    pub(crate) fn has_instance(flags: u8) -> bool {
        flags & INSTANCE != 0
    }

    pub(crate) fn from_flags(
        flags: u8,
        event_time: UtcNanos,
        instance: Option<i32>,
    ) -> Option<Self> {
        let origin = match flags & ORIGIN_BITS {
            0 => EventTimeOrigin::SndStamp,
            1 => EventTimeOrigin::Source,
            2 => EventTimeOrigin::Reception,
            _ => return None,
        };
        let known = flags & !KNOWN == 0;
        known.then_some(Self {
            event_time,
            origin,
            implausible: flags & IMPLAUSIBLE != 0,
            latin1: flags & LATIN1 != 0,
            instance,
        })
    }
}

/// A record inside an opened block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordRef<'a> {
    /// Counts the records of the block from 0.
    pub index: u32,
    pub stamps: RecordStamps,
    /// The Avro datum, without any framing.
    pub datum: &'a [u8],
}
