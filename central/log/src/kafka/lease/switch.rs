//! A dead man's switch: the kernel ends this process at a deadline that nobody put off.
//!
//! A process that was stopped (SIGSTOP, a debugger, a frozen container) cannot see that its time is over, and would go
//! on with what it had begun when it wakes. A timer with SIGKILL needs nothing of it: it fires while it is stopped.

use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

/// By CLOCK_BOOTTIME, which goes on while a machine sleeps.
#[derive(Debug)]
pub(super) struct Switch {
    timer: libc::timer_t,
}

// SAFETY: a timer's id is a number to the kernel; any thread of the process may set or delete it.
unsafe impl Send for Switch {}
// SAFETY: as above; the calls take the id by value.
unsafe impl Sync for Switch {}

impl Switch {
    pub(super) fn new() -> std::io::Result<Self> {
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: `event` is a plain C struct, for which zero is a value; the kernel reads it, and writes `timer` only.
        let status = unsafe {
            let mut event: libc::sigevent = MaybeUninit::zeroed().assume_init();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = libc::SIGKILL;
            libc::timer_create(libc::CLOCK_BOOTTIME, &raw mut event, &raw mut timer)
        };
        if status == 0 {
            Ok(Self { timer })
        } else {
            Err(std::io::Error::last_os_error())
        }
    }

    /// The process ends at that moment, unless this is called again before it.
    pub(super) fn arm(&self, deadline: Moment) {
        self.set(deadline.0);
    }

    pub(super) fn disarm(&self) {
        // A zero time disarms.
        self.set(Duration::ZERO);
    }

    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "C types, whose widths differ between machines"
    )]
    fn set(&self, at: Duration) {
        let at = libc::timespec {
            tv_sec: at.as_secs() as libc::time_t,
            tv_nsec: at.subsec_nanos() as _,
        };
        let once = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: at,
        };
        // SAFETY: the timer lives as long as `self`; the kernel reads `once`.
        let status = unsafe {
            libc::timer_settime(
                self.timer,
                libc::TIMER_ABSTIME,
                &raw const once,
                ptr::null_mut(),
            )
        };
        debug_assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // SAFETY: nobody has the id but this.
        unsafe { libc::timer_delete(self.timer) };
    }
}

/// Since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Moment(pub(super) Duration);

impl Moment {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "C types, whose widths differ between machines"
    )]
    pub(super) fn now() -> Self {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the kernel writes `time` only.
        unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
        Self(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0 + span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set to what is past it would end the test's own process: a switch that is put off and taken away does not.
    #[test]
    fn a_switch_that_is_put_off_does_nothing() {
        let switch = Switch::new().unwrap();
        for _ in 0..20 {
            switch.arm(Moment::now() + Duration::from_millis(200));
            std::thread::sleep(Duration::from_millis(20));
        }
        switch.disarm();
        std::thread::sleep(Duration::from_millis(300));
        drop(switch);
    }
}
