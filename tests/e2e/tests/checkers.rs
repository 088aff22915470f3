//! That the checkers of values see what is wrong: values.py is held to the same cases as the account of `efd-sim`.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::path::Path;
use std::process::Command;

use efd_tests_testkit::install::Installer;

#[test]
fn values_py_sees_what_breaks_the_law() {
    unittest("test_values");
}

#[test]
fn dialects_py_sees_what_is_missing_doubled_or_altered() {
    unittest("test_dialects");
}

fn unittest(module: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkers");
    let python = Installer::new().unwrap().python().unwrap();
    let output = Command::new(python.interpreter())
        .args(["-m", "unittest", module])
        .current_dir(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        !said.contains("Ran 0 tests"),
        "it must have found its tests: {said}"
    );
}
