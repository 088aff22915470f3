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
