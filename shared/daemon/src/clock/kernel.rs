//! What the kernel's time-keeping says of itself.

use std::mem::MaybeUninit;

/// From `adjtimex(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Discipline {
    /// Something (chrony, ntpd, ptp4l) says that it keeps the clock: `STA_UNSYNC` is clear.
    pub synchronised: bool,
    /// Estimated error, ns. After boot the kernel says 16 s.
    pub error_nanos: i64,
    /// TAI − UTC, s; 0 where nobody has set it.
    pub tai_offset: i32,
}

/// `None` where the call is forbidden, as in some containers.
#[allow(
    clippy::useless_conversion,
    reason = "a C long, which is 32 bits on small machines"
)]
pub(super) fn discipline() -> Option<Discipline> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `timex` is a plain C struct of integers, for which zero is a value, and `adjtimex` writes only within it.
    // With `modes` zero the call reads and changes nothing.
    let (status, timex) = unsafe {
        let status = libc::adjtimex(timex.as_mut_ptr());
        (status, timex.assume_init())
    };
    (status >= 0).then(|| Discipline {
        synchronised: timex.status & libc::STA_UNSYNC == 0,
        error_nanos: i64::from(timex.esterror).saturating_mul(1_000),
        tai_offset: timex.tai,
    })
}
