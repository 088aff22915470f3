//! The log file of a process: its end for error texts, and the rule that nothing in it complains unexpectedly.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::ProcessError;
use super::run::last_lines;

/// A log file, which may still be growing. Restarts of one daemon append to one file.
#[derive(Clone, Debug)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of it. Invalid UTF-8 replaced.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn text(&self) -> Result<String, ProcessError> {
        Ok(String::from_utf8_lossy(&self.bytes_from(0)?).into_owned())
    }

    /// The last `n` lines; empty when it cannot be read, for it serves error texts.
    pub fn tail(&self, n: usize) -> String {
        self.text()
            .map_or_else(|_| String::new(), |text| last_lines(&text, n))
    }

    /// Lines that warn of or report an error, or a panic, and contain none of the `allowed` texts. JSON logs are judged
    /// by their level field, others by a level word among the first five.
    ///
    /// # Errors
    /// [`ProcessError::Complaints`] with the lines; or the file cannot be read.
    pub fn check_quiet(&self, allowed: &[&str]) -> Result<(), ProcessError> {
        let text = self.text()?;
        let lines: Vec<String> = text
            .lines()
            .filter(|line| complains(line) && !allowed.iter().any(|allowed| line.contains(allowed)))
            .map(str::to_owned)
            .collect();
        if lines.is_empty() {
            Ok(())
        } else {
            Err(ProcessError::Complaints {
                path: self.path.clone(),
                lines,
            })
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    pub(super) fn bytes_from(&self, offset: u64) -> Result<Vec<u8>, ProcessError> {
        let read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| ProcessError::Log {
            path: self.path.clone(),
            source,
        })
    }
}

fn complains(line: &str) -> bool {
    if line.contains("panicked at") || line.starts_with("Traceback (most recent call last)") {
        return true;
    }
    if line.starts_with('{')
        && let Ok(record) = serde_json::from_str::<serde_json::Value>(line)
    {
        let level = ["level", "severity"]
            .iter()
            .find_map(|name| record.get(name)?.as_str());
        return level.is_some_and(|level| is_bad_level(&level.to_ascii_uppercase()));
    }
    let plain = without_colours(line);
    plain.split_ascii_whitespace().take(5).any(is_bad_level)
}

/// Upper case only: "no error" in a sentence is not a level.
fn is_bad_level(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphabetic());
    matches!(word, "WARN" | "WARNING" | "ERROR" | "FATAL" | "CRITICAL")
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // ESC [ … letter
            characters.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_known_by_their_level() {
        for line in [
            r#"{"timestamp":"2026-01-01T00:00:00Z","level":"WARN","message":"clock stepped"}"#,
            r#"{"level":"error","message":"x"}"#,
            "2026-01-01T00:00:00Z  WARN efd_edge::ship: retry",
            "2026-01-01T00:00:00Z \u{1b}[31mERROR\u{1b}[0m efd_edge: no disk",
            "[2026-01-01 00:00:00,000] ERROR Exiting Kafka (kafka.Kafka$)",
            "WARNING: an illegal reflective access",
            "thread 'main' panicked at src/main.rs:1:1:",
        ] {
            assert!(complains(line), "{line}");
        }
        for line in [
            r#"{"level":"INFO","message":"WARN is a word here, ERROR too"}"#,
            "2026-01-01T00:00:00Z  INFO efd_edge: no error so far",
            "2026-01-01T00:00:00Z  INFO efd_edge: five words later WARN is text",
            "",
        ] {
            assert!(!complains(line), "{line}");
        }
    }
}
