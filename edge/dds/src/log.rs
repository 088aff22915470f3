//! The library's log, passed on to `tracing` (target `cyclonedds`).

use std::collections::VecDeque;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

use cyclonedds_sys as dds;

/// Lines kept for the error that follows them.
const KEPT_LINES_MAX: usize = 8;

static KEPT: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// From the first call on the library logs here instead of on stderr. Once per process.
pub(crate) fn capture() {
    static ONCE: Once = Once::new();
    // SAFETY: `sink` is a function of the expected type that lives as long as the process; it ignores its argument.
    ONCE.call_once(|| unsafe { dds::dds_set_log_sink(Some(sink), std::ptr::null_mut()) });
}

/// The last warnings and errors, oldest first; they are kept no longer.
pub(crate) fn take_kept() -> Vec<String> {
    KEPT.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .drain(..)
        .collect()
}

unsafe extern "C" fn sink(_: *mut c_void, data: *const dds::dds_log_data_t) {
    // SAFETY: the library passes a valid record whose `message` has `size` bytes, both for the duration of the call.
    let (priority, message) = unsafe {
        let data = &*data;
        if data.message.is_null() {
            return;
        }
        (
            data.priority,
            std::slice::from_raw_parts(data.message.cast::<u8>(), data.size),
        )
    };
    // A subscriber that panics must not unwind into C; its line is lost.
    let _lost = catch_unwind(AssertUnwindSafe(|| {
        pass_on(priority, &String::from_utf8_lossy(message))
    }));
}

fn pass_on(priority: u32, message: &str) {
    let message = message.trim_end();
    if priority & (dds::DDS_LC_FATAL | dds::DDS_LC_ERROR) != 0 {
        keep(message);
        tracing::error!(target: "cyclonedds", "{message}");
    } else if priority & dds::DDS_LC_WARNING != 0 {
        keep(message);
        tracing::warn!(target: "cyclonedds", "{message}");
    } else {
        tracing::debug!(target: "cyclonedds", "{message}");
    }
}

fn keep(message: &str) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() == KEPT_LINES_MAX {
        kept.pop_front();
    }
    kept.push_back(message.to_owned());
}
