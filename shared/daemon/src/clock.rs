//! The one place that reads clocks.
//!
//! Decisions take their time as an argument; a daemon's shell gets it here, once per event, and hands it down.

use efd_shared_model::clock::{ClockSource, ClockState, TaiOrigin};
use efd_shared_model::{LeapTable, UtcNanos};
use rustix::time::{ClockId, Timespec, clock_gettime};

mod kernel;
mod notify;

pub use kernel::Discipline;
pub use notify::{Notifier, NotifyError};

/// CLOCK_REALTIME.
pub fn utc_now() -> UtcNanos {
    UtcNanos(nanos(clock_gettime(ClockId::Realtime)))
}

/// CLOCK_MONOTONIC, ns: comparable within one boot, also between processes. Stands still in suspend.
pub fn monotonic_now() -> i64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

fn nanos(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    #[error("read the boot id from {BOOT_ID}")]
    BootIdRead(#[source] std::io::Error),
    #[error("{BOOT_ID} holds `{text}`, not a UUID")]
    BootId { text: String },
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Makes the clock state that goes into each block.
#[derive(Debug, Clone)]
pub struct ClockReader {
    leap: LeapTable,
    boot_id: [u8; 16],
    /// Stands in for the kernel's own answer.
    kernel_offset: Option<i32>,
}

impl ClockReader {
    pub fn new(leap: LeapTable) -> Result<Self, ClockError> {
        let text = std::fs::read_to_string(BOOT_ID).map_err(ClockError::BootIdRead)?;
        let boot_id = text
            .trim()
            .parse::<efd_shared_model::EpochId>()
            .map_err(|_| ClockError::BootId {
                text: text.chars().take(64).collect(),
            })?;
        Ok(Self {
            leap,
            boot_id: boot_id.0,
            kernel_offset: None,
        })
    }

    /// Takes `seconds` for the kernel's TAI offset, whatever the kernel says; for tests and trials.
    #[must_use]
    pub fn with_kernel_offset(mut self, seconds: i32) -> Self {
        self.kernel_offset = Some(seconds);
        self
    }

    pub fn leap(&self) -> &LeapTable {
        &self.leap
    }

    /// The clocks as they are. Three system calls, none of which waits.
    pub fn state(&self) -> ClockState {
        let mut discipline = kernel::discipline();
        if let Some(seconds) = self.kernel_offset {
            discipline = Some(Discipline {
                tai_offset: seconds,
                ..discipline.unwrap_or_default()
            });
        }
        state_of(
            Reading {
                utc: utc_now(),
                monotonic: monotonic_now(),
                boot_id: self.boot_id,
                discipline,
            },
            &self.leap,
        )
    }
}

/// What the kernel said.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub utc: UtcNanos,
    /// ns.
    pub monotonic: i64,
    pub boot_id: [u8; 16],
    /// `None` where the kernel does not let us ask.
    pub discipline: Option<Discipline>,
}

/// A kernel's TAI offset of 0 means that nobody has set it: the table's value is taken.
pub fn state_of(reading: Reading, leap: &LeapTable) -> ClockState {
    let Reading {
        utc,
        monotonic,
        boot_id,
        discipline,
    } = reading;
    let source = match discipline {
        None => ClockSource::Unknown,
        Some(Discipline {
            synchronised: true, ..
        }) => ClockSource::Disciplined,
        Some(Discipline {
            synchronised: false,
            ..
        }) => ClockSource::Undisciplined,
    };
    let kernel = discipline
        .map(|discipline| discipline.tai_offset)
        .filter(|offset| *offset != 0);
    ClockState {
        utc,
        monotonic,
        boot_id,
        source,
        tai_offset: kernel.unwrap_or_else(|| leap.offset_at_utc(utc)),
        tai_origin: match kernel {
            Some(_) => TaiOrigin::Kernel,
            None => TaiOrigin::Table,
        },
        error: discipline.map(|discipline| discipline.error_nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_2026: UtcNanos = UtcNanos(1_795_399_261_000_000_000);
    const DISCIPLINED: Discipline = Discipline {
        synchronised: true,
        error_nanos: 1_500,
        tai_offset: 37,
    };

    fn state(discipline: Option<Discipline>) -> ClockState {
        let reading = Reading {
            utc: IN_2026,
            monotonic: 5,
            boot_id: [7; 16],
            discipline,
        };
        state_of(reading, &LeapTable::built_in())
    }

    #[test]
    fn a_kernel_offset_counts_only_when_somebody_has_set_it() {
        let check = |discipline, source, offset, origin, error| {
            let expected = ClockState {
                utc: IN_2026,
                monotonic: 5,
                boot_id: [7; 16],
                source,
                tai_offset: offset,
                tai_origin: origin,
                error,
            };
            assert_eq!(state(discipline), expected);
        };
        let kernel = |tai_offset| {
            Some(Discipline {
                tai_offset,
                ..DISCIPLINED
            })
        };
        let (kernel_says, table_says) = (TaiOrigin::Kernel, TaiOrigin::Table);
        check(
            kernel(37),
            ClockSource::Disciplined,
            37,
            kernel_says,
            Some(1_500),
        );
        check(
            kernel(38),
            ClockSource::Disciplined,
            38,
            kernel_says,
            Some(1_500),
        );
        check(
            kernel(0),
            ClockSource::Disciplined,
            37,
            table_says,
            Some(1_500),
        );
        check(
            Some(Discipline::default()),
            ClockSource::Undisciplined,
            37,
            table_says,
            Some(0),
        );
        check(None, ClockSource::Unknown, 37, table_says, None);
    }

    #[test]
    fn the_real_clocks() {
        let reader = ClockReader::new(LeapTable::built_in()).unwrap();
        let before = (utc_now(), monotonic_now());
        let state = reader.state();
        let after = (utc_now(), monotonic_now());
        assert!(before.0 <= state.utc && state.utc <= after.0);
        assert!(before.1 <= state.monotonic && state.monotonic <= after.1);
        assert!(state.utc.date().as_str() > "2026-01-01", "{}", state.utc);
        assert_ne!(state.boot_id, [0; 16]);
        // In a container without the call the source is unknown; the offset is right in any case.
        assert!((30..60).contains(&state.tai_offset), "{}", state.tai_offset);
    }

    #[test]
    fn the_kernel_offset_can_be_injected() {
        let reader = ClockReader::new(LeapTable::built_in()).unwrap();
        let state = reader.clone().with_kernel_offset(0).state();
        assert_eq!((state.tai_offset, state.tai_origin), (37, TaiOrigin::Table));
        let state = reader.with_kernel_offset(41).state();
        assert_eq!(
            (state.tai_offset, state.tai_origin),
            (41, TaiOrigin::Kernel)
        );
    }
}
