//! Starting a child so that it cannot outlive the test process.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::{fs, io, process, thread};

/// The kernel kills the child (SIGKILL) when the *thread* that started it ends. Use it where that thread waits for the
/// child; [`Daemon`](super::Daemon) starts its children from a thread that lives as long as the process.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = process::id();
    // SAFETY: the closure makes two system calls that are async-signal-safe and touches no memory but its own.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the line above: then nobody would ever send the signal.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        })
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// One idle thread per network namespace that starts children. A thread inherits the namespace of the thread that made
/// it, so a child lands where its caller is; and the thread never ends, so "parent died" means the process.
static STARTERS: Mutex<BTreeMap<u64, SyncSender<Job>>> = Mutex::new(BTreeMap::new());

/// Starts `command` in a process group of its own, from a thread that lives as long as this process.
pub(super) fn start(mut command: Command) -> io::Result<Child> {
    die_with_parent(&mut command);
    command.process_group(0);
    // The namespace of a thread is a file whose inode names it. Without /proc all callers share one thread.
    let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |file| file.ino());
    let (answer, child) = sync_channel(1);
    let job: Job = Box::new(move || {
        let started = command.spawn();
        // The caller waits for the answer below, so there is somebody to send it to.
        answer.send(started).ok();
    });
    starter(namespace)?.send(job).map_err(|_| starter_gone())?;
    child.recv().map_err(|_| starter_gone())?
}

fn starter(namespace: u64) -> io::Result<SyncSender<Job>> {
    let mut starters = STARTERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(starter) = starters.get(&namespace) {
        return Ok(starter.clone());
    }
    let (jobs, queue) = sync_channel::<Job>(1);
    thread::Builder::new()
        .name("starter".into())
        .spawn(move || queue.into_iter().for_each(|job| job()))?;
    starters.insert(namespace, jobs.clone());
    Ok(jobs)
}

fn starter_gone() -> io::Error {
    io::Error::other("the thread that starts children has ended")
}

/// How a person would type it: program and arguments, quoted where a shell needs it.
pub(crate) fn typed(command: &Command) -> String {
    let mut line = String::new();
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        if !line.is_empty() {
            line.push(' ');
        }
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            line.push_str(&word);
        } else {
            line.push('\'');
            line.push_str(&word.replace('\'', r"'\''"));
            line.push('\'');
        }
    }
    line
}
