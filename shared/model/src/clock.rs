//! The state of an edge's clock when a block was sealed: a step becomes visible, and a record's time can be
//! corrected later without altering the record.

use crate::bytes::{ByteError, Reader, Writer};
use crate::time::UtcNanos;

/// Where the kernel's clock takes its time from, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum ClockSource {
    #[default]
    Unknown = 0,
    /// The kernel says that it is disciplined (`adjtimex` without `STA_UNSYNC`).
    Disciplined = 1,
    /// The kernel says that nobody disciplines it.
    Undisciplined = 2,
}

/// Where [`ClockState::tai_offset`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum TaiOrigin {
    /// The leap-second table: the kernel's offset was 0, which means "never set".
    #[default]
    Table = 0,
    Kernel = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ClockState {
    /// CLOCK_REALTIME.
    pub utc: UtcNanos,
    /// CLOCK_MONOTONIC, ns.
    pub monotonic: i64,
    /// The kernel's boot id: monotonic readings compare only within one boot.
    pub boot_id: [u8; 16],
    pub source: ClockSource,
    /// TAI − UTC, s.
    pub tai_offset: i32,
    pub tai_origin: TaiOrigin,
    /// The kernel's estimated error, ns; `None` where it tells none.
    pub error: Option<i64>,
}

impl ClockState {
    pub fn write(&self, out: &mut Writer) {
        let Self {
            utc,
            monotonic,
            boot_id,
            source,
            tai_offset,
            tai_origin,
            error,
        } = *self;
        out.i64(utc.0);
        out.i64(monotonic);
        out.raw(&boot_id);
        out.u8(source as u8);
        out.u8(tai_origin as u8);
        out.i32(tai_offset);
        out.i64(error.unwrap_or(-1));
    }

    pub fn read(reader: &mut Reader<'_>) -> Result<Self, ByteError> {
        let utc = UtcNanos(reader.i64()?);
        let monotonic = reader.i64()?;
        let boot_id = reader.array()?;
        let source = match reader.u8()? {
            0 => ClockSource::Unknown,
            1 => ClockSource::Disciplined,
            2 => ClockSource::Undisciplined,
            _ => return Err(reader.invalid("clock source")),
        };
        let tai_origin = match reader.u8()? {
            0 => TaiOrigin::Table,
            1 => TaiOrigin::Kernel,
            _ => return Err(reader.invalid("origin of the TAI offset")),
        };
        let tai_offset = reader.i32()?;
        let error = Some(reader.i64()?).filter(|error| *error >= 0);
        Ok(Self {
            utc,
            monotonic,
            boot_id,
            source,
            tai_offset,
            tai_origin,
            error,
        })
    }
}
