//! How a binary ends: its exit code, and an error told as a chain.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// What a command found. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done, and all is well.
    Ok = 0,
    /// Done, and something needs attention: losses, a warning, a difference.
    Attention = 1,
    /// Not done: wrong arguments or configuration, or a failure.
    Failed = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The error and its causes, one to a line:
/// ```text
/// open the buffer in /var/lib/efd-edge
///   caused by: open segment telemetry-17.seg
///   caused by: permission denied
/// ```
/// A cause that the line above already ends with is left out.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut above = text.clone();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()).take(CAUSES_MAX) {
        let line = cause.to_string();
        if !above.ends_with(&line) {
            text.push_str("\n  caused by: ");
            text.push_str(&line.replace('\n', "\n  "));
        }
        above = line;
    }
    text
}

/// [`chain`] on one line, for a log: `open the buffer: open segment: permission denied`.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    chain(error)
        .replace("\n  caused by: ", ": ")
        .replace('\n', " ")
}

const CAUSES_MAX: usize = 16;

/// A line on standard output, for a command at a terminal. Ends the program where whoever read it has had enough (`| head`).
pub fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(Exit::Ok as i32);
    }
}

/// A line on standard error. Where that is closed, nobody wants it.
pub fn complain(line: &str) {
    let _unread = writeln!(std::io::stderr(), "{line}").is_err();
}

/// For `main`: prints the error on standard error and gives the exit code.
pub fn finish<E: Into<Box<dyn Error>>>(outcome: Result<Exit, E>) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            let error: Box<dyn Error> = error.into();
            #[expect(clippy::print_stderr, reason = "the last words of a program")]
            {
                eprintln!("error: {}", chain(&*error));
            }
            Exit::Failed.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("open the buffer")]
        Plain(#[source] io::Error),
        #[error("open the buffer: {0}")]
        Told(#[source] io::Error),
    }

    #[test]
    fn each_cause_is_told_once() {
        let io = || io::Error::new(io::ErrorKind::PermissionDenied, "permission denied");
        let check = |error: Outer, expected: &str, line: &str| {
            assert_eq!(chain(&error), expected);
            assert_eq!(one_line(&error), line);
        };
        let line = "open the buffer: permission denied";
        check(
            Outer::Plain(io()),
            "open the buffer\n  caused by: permission denied",
            line,
        );
        check(Outer::Told(io()), line, line);
    }

    #[test]
    fn codes_are_part_of_the_interface() {
        let code = |exit: Exit| format!("{:?}", ExitCode::from(exit));
        assert_eq!(code(Exit::Ok), format!("{:?}", ExitCode::from(0)));
        assert_eq!(code(Exit::Attention), format!("{:?}", ExitCode::from(1)));
        assert_eq!(code(Exit::Failed), format!("{:?}", ExitCode::from(2)));
        let failed = finish::<Outer>(Err(Outer::Plain(io::Error::other("x"))));
        assert_eq!(format!("{failed:?}"), code(Exit::Failed));
    }
}
