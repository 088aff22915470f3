//! Running a program to its end, with a limit on time and output.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::FromRawFd;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use super::spawn::{start, typed};
use super::{ProcessError, daemon};
use crate::clock::{Deadline, LOOK_EVERY};

/// What a program said.
#[derive(Debug)]
pub struct Captured {
    pub status: ExitStatus,
    /// Invalid UTF-8 replaced.
    pub stdout: String,
    /// Invalid UTF-8 replaced.
    pub stderr: String,
    pub took: Duration,
}

/// More than this on stdout or stderr is an error, not memory.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// Runs to the end and captures what was printed. Standard input is empty.
///
/// # Errors
/// When it cannot start, is not done `within` the time (it is killed, with its children), or prints over 64 MiB.
/// An exit status other than 0 is not an error here.
pub fn run(mut command: Command, within: Duration) -> Result<Captured, ProcessError> {
    let described = typed(&command);
    let start_error = |source| ProcessError::Start {
        name: command_name(&described),
        command: described.clone(),
        source,
    };
    // Files in memory, not pipes: nobody has to read while the program runs.
    let mut stdout = memory_file().map_err(start_error)?;
    let mut stderr = memory_file().map_err(start_error)?;
    command.stdin(Stdio::null());
    command.stdout(stdout.try_clone().map_err(start_error)?);
    command.stderr(stderr.try_clone().map_err(start_error)?);
    let mut child = start(command).map_err(start_error)?;

    let deadline = Deadline::after(within);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(start_error)? {
            break status;
        }
        if deadline.passed() {
            daemon::kill_group(&mut child);
            let tail = format!(
                "{}{}",
                read_back(&mut stdout, &described)?,
                read_back(&mut stderr, &described)?
            );
            return Err(ProcessError::Endless {
                command: described,
                limit: within,
                tail: last_lines(&tail, 20),
            });
        }
        thread::sleep(LOOK_EVERY);
    };
    Ok(Captured {
        status,
        stdout: read_back(&mut stdout, &described)?,
        stderr: read_back(&mut stderr, &described)?,
        took: deadline.waited(),
    })
}

/// The last `n` lines.
pub(crate) fn last_lines(text: &str, n: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(n)..].join("\n")
}

fn command_name(described: &str) -> String {
    let program = described.split(' ').next().unwrap_or(described);
    program.rsplit('/').next().unwrap_or(program).to_owned()
}

fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a NUL-terminated literal; a non-negative result is a descriptor that nobody else owns.
    unsafe {
        match libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(File::from_raw_fd(descriptor)),
        }
    }
}

fn read_back(file: &mut File, command: &str) -> Result<String, ProcessError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| ProcessError::Start {
            name: command_name(command),
            command: command.into(),
            source,
        })?;
    if bytes.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(ProcessError::TooLong {
            command: command.into(),
            limit_bytes: OUTPUT_BYTES_MAX,
        });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
