//! What the machine permits: realtime scheduling, and the size of socket buffers.

use std::sync::Once;

/// Whether threads of this process may run as `SCHED_FIFO` with `priority`. Found out by trying it in a thread that ends at once,
/// because a thread that the library cannot start as configured makes it refuse the whole domain.
pub(crate) fn realtime_permitted(priority: u8) -> bool {
    let tried = std::thread::Builder::new()
        .name("dds-rt-probe".into())
        .spawn(move || raise_this_thread(priority));
    let permitted = tried.is_ok_and(|thread| thread.join().unwrap_or(false));
    if !permitted {
        static WARNED: Once = Once::new();
        WARNED.call_once(|| {
            tracing::warn!(
                priority,
                "Receive threads run at ordinary priority: under load they may fall behind, and a reader that falls behind slows \
                 its publishers. Grant CAP_SYS_NICE, or LimitRTPRIO={priority} in the systemd unit"
            );
        });
    }
    permitted
}

/// Makes the calling thread `SCHED_FIFO`; says whether that was permitted.
pub(crate) fn raise_this_thread(priority: u8) -> bool {
    let param = libc::sched_param {
        sched_priority: i32::from(priority),
    };
    // SAFETY: `param` is valid for the call; 0 names the calling thread, so no other is changed.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) == 0 }
}

/// While it lives, threads that this thread starts have timers that may be late by [`TIMER_SLACK_NS`], so that one
/// waking serves many. The library's thread of timed events would otherwise wake for the acknowledgement of each sample
/// of each slow topic, ten milliseconds after it came. Realtime threads have no slack.
#[derive(Debug)]
pub(crate) struct LazyTimers {
    before: libc::c_ulong,
}

const TIMER_SLACK_NS: libc::c_ulong = 2_000_000;

impl LazyTimers {
    pub(crate) fn begin() -> Self {
        // SAFETY: reads and writes a number of the calling thread.
        let before = unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) };
        // SAFETY: as above.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK_NS) };
        Self {
            // 0 sets the default.
            before: libc::c_ulong::try_from(before).unwrap_or(0),
        }
    }
}

impl Drop for LazyTimers {
    fn drop(&mut self) {
        // SAFETY: writes a number of the calling thread.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, self.before) };
    }
}

/// Whether the kernel gives sockets a receive buffer of `bytes`. Unknown (another network namespace) counts as no.
pub(crate) fn receive_buffer_permitted(bytes: u32) -> bool {
    let Ok(text) = std::fs::read_to_string("/proc/sys/net/core/rmem_max") else {
        return false;
    };
    let Ok(limit) = text.trim().parse::<u64>() else {
        return false;
    };
    if u64::from(bytes) > limit {
        static WARNED: Once = Once::new();
        WARNED.call_once(|| {
            tracing::warn!(
                wanted = bytes,
                limit,
                "Socket receive buffers are smaller than asked for: bursts may be lost and sent again. \
                 Set sysctl net.core.rmem_max={bytes}"
            );
        });
        return false;
    }
    true
}
