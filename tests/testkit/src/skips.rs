//! Tests that cannot run here say so, past the capture of the test runner, and are listed at the end of the whole run.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Names the file that lists the skips of a run; `cargo xtask test` sets it, prints the list at its end and removes it.
pub const LIST: &str = "EFD_TEST_SKIPS";
/// `1` where everything must be able to run.
pub const NO_SKIP: &str = "EFD_TEST_NO_SKIP";

/// Says on the terminal that a test is skipped, and why, and puts it on the run's [list](LIST).
///
/// # Panics
/// Under `EFD_TEST_NO_SKIP=1`, and where the list cannot be written.
pub fn skip(test: &str, why: &dyn Display) {
    assert!(
        env::var_os(NO_SKIP).is_none_or(|value| value != "1"),
        "{test} may not be skipped here ({NO_SKIP}=1): {why}"
    );
    crate::say(&format!("{test}: SKIPPED: {why}"));
    if let Some(list) = env::var_os(LIST) {
        let list = PathBuf::from(list);
        if let Err(error) = add(&list, test, why) {
            panic!("add to the list of skips {}: {error}", list.display());
        }
    }
}

/// A folder of the corpus (`sal-idl`, `avro-golden`, …), in `$EFD_CORPUS` or beside the project. Where there is none the
/// test is [skipped](skip).
pub fn corpus(test: &str, folder: &str) -> Option<PathBuf> {
    let beside = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        root.unwrap_or_else(|| Path::new("."))
            .join("../shared/corpus")
    };
    let path = env::var_os("EFD_CORPUS")
        .map_or_else(beside, PathBuf::from)
        .join(folder);
    if path.is_dir() {
        return Some(path);
    }
    skip(
        test,
        &format!("no corpus at {}; set EFD_CORPUS", path.display()),
    );
    None
}

/// One line, in one write: several test programs add to the list.
pub fn add(list: &Path, test: &str, why: &dyn Display) -> io::Result<()> {
    let line = format!("{test}: {why}").replace('\n', " ") + "\n";
    let mut file = fs::File::options().create(true).append(true).open(list)?;
    file.write_all(line.as_bytes())
}

/// What was skipped, each once, in alphabetical order; empties the list.
pub fn take(list: &Path) -> io::Result<Vec<String>> {
    let text = match fs::read_to_string(list) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    fs::remove_file(list)?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::tmp::WorkDir;

    /// Does nothing but skip: what its name says is done by [`skips_are_seen_although_the_runner_captures`].
    #[test]
    fn skipped_on_purpose() {
        if env::var_os("EFD_TEST_SKIP_ON_PURPOSE").is_some() {
            skip("on purpose", &"of two\nlines");
            assert_eq!(corpus("without corpus", "none"), None);
        }
    }

    /// The test runner captures what a test that passes prints: a child of it shows what gets through.
    #[test]
    fn skips_are_seen_although_the_runner_captures() {
        let folder = WorkDir::new("skips").unwrap();
        let list = folder.join("list");
        let child = |no_skip: &str| {
            let mut command = Command::new(env::current_exe().unwrap());
            command
                .args(["--exact", "skips::tests::skipped_on_purpose"])
                .env("EFD_TEST_SKIP_ON_PURPOSE", "1")
                .env("EFD_CORPUS", folder.path())
                .env(LIST, &list)
                .env(NO_SKIP, no_skip);
            command.output().unwrap()
        };
        let passed = child("0");
        let said = String::from_utf8_lossy(&passed.stderr);
        assert!(passed.status.success(), "{said}");
        assert!(said.contains("on purpose: SKIPPED: of two"), "{said}");
        let lines = take(&list).unwrap();
        assert_eq!(lines[0], "on purpose: of two lines");
        assert!(lines[1].starts_with("without corpus: no corpus at "));
        assert_eq!(lines.len(), 2);
        assert_eq!(take(&list).unwrap(), Vec::<String>::new());

        assert!(!child("1").status.success(), "may not be skipped");
        folder.finish().unwrap();
    }

    #[test]
    fn the_same_twice_is_listed_once() {
        let folder = WorkDir::new("skips-twice").unwrap();
        let list = folder.join("list");
        for test in ["b", "a", "b"] {
            add(&list, test, &"why").unwrap();
        }
        assert_eq!(take(&list).unwrap(), ["a: why", "b: why"]);
        folder.finish().unwrap();
    }
}
