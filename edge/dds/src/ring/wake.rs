//! Lets one thread sleep until another has something for it. The waking side takes no lock, and makes no system call unless
//! someone sleeps: a receive thread of high priority must not wait for a consumer of low.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Wake {
    /// 1 while the consumer sleeps or is about to.
    asleep: AtomicU32,
}

impl Wake {
    /// Sleeps until woken or for `timeout` at most; at once back if `ready`. Says whether it was ready or woken.
    ///
    /// What makes `ready` true must come before the other side's [`wake`](Self::wake). With the two fences at least one side sees
    /// the other: either `ready` is seen here, or `asleep` there.
    pub(super) fn sleep_unless(&self, ready: impl Fn() -> bool, timeout: Duration) -> bool {
        self.asleep.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if ready() {
            self.asleep.store(0, Ordering::Relaxed);
            return true;
        }
        futex_wait(&self.asleep, 1, timeout);
        // Still 1: the time is over, or a signal came.
        self.asleep.swap(0, Ordering::Relaxed) == 0 || ready()
    }

    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) == 1 && self.asleep.swap(0, Ordering::Relaxed) == 1 {
            futex_wake(&self.asleep);
        }
    }
}

/// Returns when woken, after `timeout`, on a signal, or at once where the word is not `expected`.
fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    // SAFETY: the word and the timeout are valid for the call; the kernel only reads them.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            &raw const timeout,
        );
    }
}

fn futex_wake(word: &AtomicU32) {
    // SAFETY: the kernel takes the address as a name only; the word is alive.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
            ptr::null::<libc::timespec>(),
        );
    }
}
