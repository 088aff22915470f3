//! A long-running process with a log file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use super::spawn::{start, typed};
use super::usage::{self, Usage};
use super::{Log, ProcessError, http};
use crate::clock::{Deadline, LOOK_EVERY};

/// What may be sent to a [`Daemon`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end.
    Terminate,
    /// Ctrl-C.
    Interrupt,
    /// Asks it to read its configuration again.
    HangUp,
    /// Ends it at once; nothing is flushed.
    Kill,
    /// It stands still until [`Continue`](Self::Continue); the kernel goes on receiving for it until buffers are full.
    Stop,
    Continue,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Self::Terminate => libc::SIGTERM,
            Self::Interrupt => libc::SIGINT,
            Self::HangUp => libc::SIGHUP,
            Self::Kill => libc::SIGKILL,
            Self::Stop => libc::SIGSTOP,
            Self::Continue => libc::SIGCONT,
        }
    }
}

/// A running (or ended) process in a process group of its own. Dropping it kills the group; the death of the test
/// process kills it too.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    log: Log,
    /// Where this start's part of the log begins.
    log_from: u64,
    /// Up to here [`wait_for_line`](Self::wait_for_line) has looked; always the start of a line.
    log_read: u64,
}

impl Daemon {
    /// Starts `command` with standard output and error appended to the file `log` (made with its folder if absent) and
    /// an empty standard input. The command may come from [`Namespace::command`](crate::netns::Namespace::command).
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, ProcessError> {
        let file = open_log(log).map_err(|source| ProcessError::Log {
            path: log.to_owned(),
            source,
        })?;
        let described = typed(&command);
        let failed = |source| ProcessError::Start {
            name: name.to_owned(),
            command: described.clone(),
            source,
        };
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(failed)?)
            .stderr(file);
        let log = Log::new(log);
        let log_from = log.bytes();
        let child = start(command).map_err(failed)?;
        Ok(Self {
            name: name.to_owned(),
            child,
            ended: None,
            log,
            log_from,
            log_read: log_from,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The whole log file, earlier starts included.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What this start has logged so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log_since_start(&self) -> Result<String, ProcessError> {
        Ok(String::from_utf8_lossy(&self.log.bytes_from(self.log_from)?).into_owned())
    }

    /// Waits for a complete log line of this start that contains `text` and returns it. Each line is found once: the
    /// next call looks behind it.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] when the process ended without it, [`ProcessError::TimedOut`] after `within`.
    pub fn wait_for_line(&mut self, text: &str, within: Duration) -> Result<String, ProcessError> {
        self.wait_for(&format!("log line with `{text}`"), within, |daemon| {
            daemon.next_line_with(text)
        })
    }

    /// Waits until `GET url` answers with a status of 200 to 299, and returns the body.
    ///
    /// # Errors
    /// As [`wait_for_line`](Self::wait_for_line).
    pub fn wait_for_http(&mut self, url: &str, within: Duration) -> Result<String, ProcessError> {
        self.wait_for(&format!("success from {url}"), within, |_| {
            // Refused, reset and "not yet" all mean: ask again.
            let answer = http::get(url, Duration::from_secs(2)).ok();
            Ok(answer
                .filter(|answer| (200..300).contains(&answer.status))
                .map(|answer| answer.body))
        })
    }

    /// Waits until `look` gives something; `wanted` names it in errors.
    ///
    /// # Errors
    /// As [`wait_for_line`](Self::wait_for_line), and what `look` itself returns.
    pub fn wait_for<T>(
        &mut self,
        wanted: &str,
        within: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, ProcessError>,
    ) -> Result<T, ProcessError> {
        let deadline = Deadline::after(within);
        loop {
            // Asked before looking: what a process said last is seen even when it ended right after.
            let ended = self.exit_status()?;
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if let Some(status) = ended {
                return Err(ProcessError::Ended {
                    name: self.name.clone(),
                    status,
                    wanted: wanted.to_owned(),
                    log: self.log.path().to_owned(),
                    tail: self.log.tail(20),
                });
            }
            if deadline.passed() {
                return Err(self.timed_out(wanted, deadline));
            }
            thread::sleep(LOOK_EVERY.min(deadline.left()));
        }
    }

    /// `None` while it runs.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .map_err(|source| self.control("ask for its status", source))?;
        }
        Ok(self.ended)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`ProcessError::TimedOut`]: it still runs.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, ProcessError> {
        let deadline = Deadline::after(within);
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if deadline.passed() {
                return Err(self.timed_out("end", deadline));
            }
            thread::sleep(LOOK_EVERY.min(deadline.left()));
        }
    }

    /// SIGTERM, then waits for the end. It is not killed when the time is over: the caller decides.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn stop(&mut self, within: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::Terminate)?;
        self.wait(within)
    }

    /// SIGKILL to the whole group, and waits for the end.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn kill9(&mut self) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::Kill)?;
        self.wait(Duration::from_secs(30))
    }

    /// Stops and continues go to the whole group, as does a kill; the others to the process itself. A signal to a
    /// process that has ended does nothing.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        let pid = self.child.id().cast_signed();
        let target = match signal {
            Signal::Kill | Signal::Stop | Signal::Continue => -pid,
            Signal::Terminate | Signal::Interrupt | Signal::HangUp => pid,
        };
        send(target, signal.number()).map_err(|source| self.control("send a signal", source))
    }

    /// Memory, processor time and disk writes so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> Result<Usage, ProcessError> {
        usage::of(self.child.id()).map_err(|source| self.control("read its usage", source))
    }

    /// Processor time so far of its threads, by their names.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_by_thread(&self) -> Result<BTreeMap<String, Duration>, ProcessError> {
        usage::cpu_by_thread(self.child.id())
            .map_err(|source| self.control("read its threads", source))
    }

    fn next_line_with(&mut self, text: &str) -> Result<Option<String>, ProcessError> {
        let bytes = self.log.bytes_from(self.log_read)?;
        // A line without its end may still grow.
        for line in bytes
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| line.ends_with(b"\n"))
        {
            self.log_read += line.len() as u64;
            let line = String::from_utf8_lossy(line);
            if line.contains(text) {
                return Ok(Some(line.trim_end().to_owned()));
            }
        }
        Ok(None)
    }

    fn timed_out(&self, wanted: &str, deadline: Deadline) -> ProcessError {
        ProcessError::TimedOut {
            name: self.name.clone(),
            wanted: wanted.to_owned(),
            waited: deadline.waited(),
            log: self.log.path().to_owned(),
            tail: self.log.tail(20),
        }
    }

    fn control(&self, action: &'static str, source: io::Error) -> ProcessError {
        ProcessError::Control {
            name: self.name.clone(),
            action,
            source,
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Also when it has ended by itself: its children may not have.
        kill_group(&mut self.child);
    }
}

/// Ends a child and everything in its process group, and reaps the child.
pub(super) fn kill_group(child: &mut Child) {
    // Both fail only when all is over already.
    send(-child.id().cast_signed(), libc::SIGKILL).ok();
    child.wait().ok();
}

fn send(target: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: kill reads no memory of ours. The pid is that of our own child, or its group.
    if unsafe { libc::kill(target, signal) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::options().create(true).append(true).open(path)
}
