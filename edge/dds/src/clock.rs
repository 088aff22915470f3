//! Reads the kernel's clocks. The only file that does.

/// When a sample was handed over by the receive thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    /// `CLOCK_REALTIME`, ns since 1970 (UTC).
    pub realtime_ns: i64,
    /// `CLOCK_MONOTONIC`, ns; the clock behind `std::time::Instant`.
    pub monotonic_ns: i64,
}

impl Reception {
    /// Both clocks, one after the other.
    pub fn now() -> Self {
        Self {
            realtime_ns: read(libc::CLOCK_REALTIME),
            monotonic_ns: read(libc::CLOCK_MONOTONIC),
        }
    }
}

/// ns on a clock that also counts while the machine sleeps.
pub(crate) fn boot_ns() -> i64 {
    read(libc::CLOCK_BOOTTIME)
}

/// ns on `CLOCK_MONOTONIC`.
pub(crate) fn monotonic_ns() -> i64 {
    read(libc::CLOCK_MONOTONIC)
}

/// ns on `CLOCK_REALTIME`.
pub(crate) fn realtime_ns() -> i64 {
    read(libc::CLOCK_REALTIME)
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut at = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `at` is a valid timespec for the kernel to write. The three clocks in use exist on every Linux this
    // builds for, so the call cannot fail; if it did, `at` would still be initialised.
    unsafe { libc::clock_gettime(clock, &raw mut at) };
    at.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(at.tv_nsec)
}
