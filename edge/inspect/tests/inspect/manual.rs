//! Completions and the manual.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use efd_tests_testkit::skip;

use crate::world::command;

fn output(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{command:?}: {status}\n{said}");
    String::from_utf8(stdout).unwrap()
}

fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    found.is_ok()
}

#[test]
fn bash_completes() {
    if !has("bash") {
        return skip("bash_completes", &"no bash here");
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("efd-inspect");
    fs::write(&script, output(command().args(["completions", "bash"]))).unwrap();
    output(Command::new("bash").arg("-n").arg(&script));
    let complete = |words: &[&str]| {
        let last = words.len() - 1;
        let program = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={last}; registered=$(complete -p efd-inspect); \
             function=${{registered#*-F }}; ${{function%% *}} efd-inspect '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.join(" "),
            words[last],
            words[last - 1],
        );
        let completed = output(Command::new("bash").args(["--norc", "-c", &program]));
        let mut completed: Vec<_> = completed.lines().map(str::to_owned).collect();
        completed.sort();
        completed
    };
    assert_eq!(complete(&["efd-inspect", "ver"]), ["verify"]);
    assert_eq!(complete(&["efd-inspect", "watch", "--ev"]), ["--every"]);
    assert_eq!(complete(&["efd-inspect", "cat", "--un"]), ["--until"]);
    assert_eq!(complete(&["efd-inspect", "completions", "z"]), ["zsh"]);
}

#[test]
fn every_shell_has_a_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = output(command().args(["completions", shell]));
        assert!(
            script.contains("verify") && script.contains("completions"),
            "{shell}"
        );
    }
    let unknown = command().args(["completions", "dosh"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
}

/// Subcommands, and the long options of each, as `--help` tells.
fn told() -> Vec<(String, BTreeSet<String>)> {
    let options = |help: &str| {
        let words = help.split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
        let long = words.filter(|word| word.starts_with("--") && word.len() > 2);
        long.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let help = output(command().arg("--help"));
    let (_, listed) = help.split_once("\nCommands:\n").unwrap();
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let names: Vec<_> = names.filter(|&name| name != "help").collect();
    assert!(names.len() > 8 && names.contains(&"watch"), "{names:?}");
    let of = |name: &&str| {
        let help = output(command().args([name, "--help"]));
        ((*name).to_owned(), options(&help))
    };
    names.iter().map(of).collect()
}

/// What a page says to a reader, whichever program renders it.
fn check(page: &str, commands: &[(String, BTreeSet<String>)]) {
    // Lines are filled and broken wherever it suits.
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for (name, options) in commands {
        assert!(
            page.contains(&format!("efd-inspect {name}")),
            "{name}: {page}"
        );
        for option in options {
            assert!(page.contains(option.as_str()), "{name}: {option}: {page}");
        }
    }
}

/// As text for a terminal; `None` where nothing can render it.
fn rendered(page: &Path) -> Option<String> {
    let mut command = if has("mandoc") {
        let mut command = Command::new("mandoc");
        command.args(["-T", "utf8"]);
        command
    } else if has("groff") {
        // As `man -l`, which is not installed everywhere that groff is.
        let mut command = Command::new("groff");
        command.args(["-man", "-Kutf8", "-Tutf8", "-ww", "-rLL=200n"]);
        command
    } else {
        return None;
    };
    let output = command.arg(page).stdin(Stdio::null()).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    // Verbatim lines may be wider than a page.
    let serious = complaints
        .lines()
        .filter(|line| !line.contains("cannot be adjusted") && !line.contains("can't break line"));
    assert_eq!(serious.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(output.status.success());
    Some(plain(&String::from_utf8(output.stdout).unwrap()))
}

/// Without the escapes and overstrikes that make letters bold.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{8}' => drop(plain.pop()),
            '\x1b' => drop(rest.find(char::is_ascii_alphabetic)),
            '\u{2010}' | '\u{2212}' => plain.push('-'),
            c => plain.push(c),
        }
    }
    plain
}

#[test]
fn the_manual_has_all_that_help_tells() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("efd-inspect.1");
    let source = output(command().arg("man"));
    fs::write(&page, &source).unwrap();
    let told = told();
    check(
        &source
            .replace("\\-", "-")
            .replace("\\fB", "")
            .replace("\\fR", ""),
        &told,
    );
    for heading in [".TH EFD-INSPECT 1", ".SH NAME", ".SH SYNOPSIS", ".SH NOTES"] {
        assert!(source.contains(heading), "{heading}: {source}");
    }
    let Some(text) = rendered(&page) else {
        return skip(
            "the_manual_has_all_that_help_tells",
            &"neither mandoc nor groff is here",
        );
    };
    check(&text, &told);
    // Columns stay columns; longer lines may be folded by `--help`.
    let help = output(command().arg("--help"));
    let (_, examples) = help.split_once("\nExamples:\n").unwrap();
    let examples = examples.lines().take_while(|line| !line.is_empty());
    let examples: Vec<_> = examples.filter(|line| line.len() < 90).collect();
    assert!(
        examples.iter().any(|line| line[2..].contains("  ")),
        "{help}"
    );
    for example in examples {
        assert!(text.contains(example), "{example}: {text}");
    }
}

#[test]
fn a_page_for_each_subcommand() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("usr/share/man/man1");
    let listed = output(command().arg("man").arg("--to").arg(&to));
    let told = told();
    assert_eq!(listed.lines().count(), told.len() + 1);
    let all = fs::read_to_string(to.join("efd-inspect.1")).unwrap();
    for (name, options) in told {
        let path = to.join(format!("efd-inspect-{name}.1"));
        let source = fs::read_to_string(&path).unwrap();
        let text = source
            .replace("\\-", "-")
            .replace("\\fB", "")
            .replace("\\fR", "");
        check(&text, &[(name.clone(), options.clone())]);
        assert!(
            all.replace("\\-", "-")
                .contains(&format!("efd-inspect-{name}(1)")),
            "{all}"
        );
        if let Some(text) = rendered(&path) {
            check(&text, &[(name, options)]);
        }
    }
    fs::write(to.join("file"), "").unwrap();
    let refused = command()
        .arg("man")
        .arg("--to")
        .arg(to.join("file"))
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
}
