//! Work that must not take anything from live work.

/// The calling thread, and those that it starts from now on, run when a processor has nothing else to do: Linux's
/// `SCHED_IDLE` (sched(7)). Any other thread that wakes takes over at once, and a processor that is always busy leaves
/// such threads about a three-hundredth of its time.
///
/// False where it is forbidden: the thread runs on as it was.
pub fn run_when_idle() -> bool {
    let no_priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads the struct, which outlives it, and changes nothing but how this thread (0) is scheduled.
    let status = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const no_priority) };
    status == 0
}

/// The calling thread alone yields to others by so many of the kernel's nice levels: ten give it a tenth under load. Linux
/// knows a level for each thread. Where it is forbidden the thread runs on as it was.
pub fn run_nice(levels: i32) {
    let _refused = rustix::process::nice(levels);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_thread_and_its_own() {
        // SAFETY: the call has no arguments but numbers and changes nothing.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = policy();
        let of_child = std::thread::spawn(move || {
            assert!(run_when_idle());
            assert_eq!(policy(), libc::SCHED_IDLE);
            std::thread::spawn(policy).join()
        });
        let of_child = of_child.join().unwrap_or(Ok(-1)).unwrap_or(-1);
        assert_eq!(of_child, libc::SCHED_IDLE);
        assert_eq!(policy(), before);
    }
}
