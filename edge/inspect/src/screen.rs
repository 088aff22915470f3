//! Where a command writes: results to one place, what people should know beside them to another.

use std::fmt::Display;
use std::io::{self, Write};

use crate::outcome::Exit;

/// Standard output and standard error, or a test's buffers.
#[derive(Debug)]
pub struct Screen<O, E> {
    pub out: O,
    err: E,
    /// Standard error is a terminal: progress may be shown.
    shows_progress: bool,
    progress_columns: usize,
    damage: u64,
}

impl<O: Write, E: Write> Screen<O, E> {
    pub fn new(out: O, err: E, shows_progress: bool) -> Self {
        Self {
            out,
            err,
            shows_progress,
            progress_columns: 0,
            damage: 0,
        }
    }

    /// Names something that is damaged or may not be all: the command will end with [`Exit::Damaged`].
    pub fn damaged(&mut self, what: impl Display) -> io::Result<()> {
        self.damage += 1;
        self.say("damaged", what)
    }

    pub fn note(&mut self, what: impl Display) -> io::Result<()> {
        self.say("note", what)
    }

    /// Counts damage that the results themselves name.
    pub fn count_damage(&mut self) {
        self.damage += 1;
    }

    fn say(&mut self, kind: &str, what: impl Display) -> io::Result<()> {
        self.clear_progress()?;
        writeln!(self.err, "{kind}: {}", printable(&what.to_string()))
    }

    /// Replaces the line of progress, where there is a terminal.
    pub fn progress(&mut self, what: impl Display) -> io::Result<()> {
        if !self.shows_progress {
            return Ok(());
        }
        let text = what.to_string();
        let columns = text.chars().count();
        write!(self.err, "\r{text:<width$}", width = self.progress_columns)?;
        self.progress_columns = columns;
        self.err.flush()
    }

    pub fn clear_progress(&mut self) -> io::Result<()> {
        if self.progress_columns > 0 {
            write!(self.err, "\r{:width$}\r", "", width = self.progress_columns)?;
            self.progress_columns = 0;
        }
        Ok(())
    }

    /// Flushes, and says how it went.
    pub fn end(&mut self) -> io::Result<Exit> {
        self.clear_progress()?;
        self.out.flush()?;
        Ok(if self.damage == 0 {
            Exit::Intact
        } else {
            Exit::Damaged
        })
    }
}

/// Names on a damaged disk may hold anything; a terminal must not be told to do things by them.
pub(crate) fn printable(text: &str) -> String {
    let plain = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(plain).collect()
}
