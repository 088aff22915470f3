use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use super::cache::Pinned;
use super::debian::java_major;
use super::*;
use crate::tmp::WorkDir;

const PINNED: Pinned<'_> = Pinned {
    name: "thing",
    version: "1.2",
    by: &["pins"],
};

fn installer(work: &WorkDir) -> (Installer, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&lines);
    let installer = Installer::with(Cache::at(work.join("cache")), move |line| {
        told.lock().unwrap().push(line.to_owned())
    });
    (installer, lines)
}

#[test]
fn a_thing_is_installed_once_even_by_many_at_once() {
    let work = WorkDir::new("install-once").unwrap();
    let runs = AtomicU32::new(0);
    let folders: Vec<PathBuf> = thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let (installer, _) = installer(&work);
                    installer
                        .cached(&PINNED, |folder| {
                            runs.fetch_add(1, Ordering::SeqCst);
                            thread::sleep(Duration::from_millis(50));
                            fs::write(folder.join("content"), "whole").map_err(at("write", folder))
                        })
                        .unwrap()
                })
            })
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .collect()
    });
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert!(
        folders
            .iter()
            .all(|folder| fs::read_to_string(folder.join("content")).unwrap() == "whole")
    );
    work.finish().unwrap();
}

#[test]
fn what_an_interrupted_installation_left_is_made_anew() {
    let work = WorkDir::new("install-anew").unwrap();
    let (installer, lines) = installer(&work);
    let error = installer
        .cached(&PINNED, |folder| {
            fs::write(folder.join("half"), "").unwrap();
            installer
                .run("a thing", shell("echo no route to host; exit 4"))
                .map(drop)
        })
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("install a thing")
            && text.contains("no route to host")
            && text.contains("sh -c"),
        "{text}"
    );

    let folder = installer
        .cached(&PINNED, |folder| {
            fs::write(folder.join("whole"), "").map_err(at("write", folder))
        })
        .unwrap();
    assert!(folder.join("whole").exists() && !folder.join("half").exists());
    installer
        .cached(&PINNED, |_| panic!("it is there"))
        .unwrap();
    let other = Pinned {
        by: &["other pins"],
        ..PINNED
    };
    assert_ne!(installer.cached(&other, |_| Ok(())).unwrap(), folder);
    assert!(
        folder.join("whole").exists(),
        "an older pin's folder may be in use"
    );
    // Begun and failed, begun and done, begun and done.
    assert_eq!(lines.lock().unwrap().len(), 5, "{lines:?}");
    work.finish().unwrap();
}

#[test]
fn an_absent_program_is_named_with_the_line_to_type() {
    let work = WorkDir::new("install-absent").unwrap();
    let (installer, _) = installer(&work);
    let mut command = Command::new("no-such-program");
    command.args(["--now", "it's"]);
    let text = installer.run("a thing", command).unwrap_err().to_string();
    assert!(text.ends_with("no-such-program --now 'it'\\''s'"), "{text}");
    work.finish().unwrap();
}

#[test]
fn java_versions() {
    let check = |said, expected| assert_eq!(java_major(said), expected, "{said}");
    check(
        "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment",
        Some(17),
    );
    check(
        "Picked up JAVA_TOOL_OPTIONS: -Dx\nopenjdk version \"21\" 2023-09-19",
        Some(21),
    );
    check("java version \"1.8.0_392\"", Some(1));
    check("command not found", None);
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}
