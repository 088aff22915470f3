//! What hands and lost files do to a buffer: nothing intact is hidden, and nothing that is wrong passes for whole.

use std::fs;

use crate::world::{Ran, closed, contents, crashed, run, segment};

fn lines(root: &std::path::Path) -> usize {
    run("cat", root, &[]).out.lines().count()
}

/// A copy of a segment under another name, of its own lane or of another, hides nothing of the others.
#[test]
fn a_stray_copy_of_a_segment() {
    let (_folder, root) = closed();
    let whole = lines(&root);
    for (from, lane) in [("events", "telemetry"), ("telemetry", "telemetry")] {
        let stray = root.join(format!("segments/{lane}/0000000099.db"));
        fs::copy(segment(&root, from, 0), &stray).unwrap();
        for verb in ["ls", "cat", "verify", "account"] {
            let Ran { code, out, err } = run(verb, &root, &[]);
            assert_eq!(code, 2, "{verb}: {out}{err}");
            let said = format!("{out}{err}");
            assert!(said.contains("is a copy of segment"), "{verb}: {said}");
        }
        assert_eq!(lines(&root), whole);
        fs::remove_file(&stray).unwrap();
    }
    assert_eq!(run("verify", &root, &[]).code, 0);
}

/// Two files that have changed their names: what is theirs is named, and shown by each file alone.
#[test]
fn exchanged_names() {
    let (_folder, root) = closed();
    let whole = lines(&root);
    let (one, two) = (
        segment(&root, "telemetry", 0),
        segment(&root, "telemetry", 1),
    );
    let kept = lines(&one) + lines(&two);
    assert!(kept > 0);
    let aside = root.join("aside");
    fs::rename(&one, &aside).unwrap();
    fs::rename(&two, &one).unwrap();
    fs::rename(&aside, &two).unwrap();
    assert_eq!(lines(&one) + lines(&two), kept);
    assert_eq!(lines(&root), whole - kept);
    let Ran { code, out, err } = run("cat", &root, &[]);
    assert_eq!(code, 2, "{out}{err}");
    for file in [&one, &two] {
        let id = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(err.contains(&id), "{err}");
    }
    assert_eq!(run("verify", &root, &[]).code, 2);
}

/// As its writer died: its WAL has rows, and there is no index of it. Nothing is made beside it.
#[test]
fn a_dead_writers_wal_is_read_without_a_trace() {
    let (_folder, root) = crashed();
    let whole = lines(&root);
    assert!(whole > 0);
    for path in contents(&root).into_keys() {
        if path.to_string_lossy().ends_with("-shm") {
            fs::remove_file(path).unwrap();
        }
    }
    let before = contents(&root);
    for verb in ["ls", "cat", "verify", "account"] {
        let Ran { code, err, .. } = run(verb, &root, &[]);
        assert_eq!((code, err.as_str()), (0, ""), "{verb}");
    }
    assert_eq!(lines(&root), whole);
    assert!(contents(&root) == before, "a trace was left");
}

/// A file where a lane's folder should be, and a pipe where a segment should be.
#[test]
fn what_is_no_folder_and_no_file() {
    let (_folder, root) = closed();
    let whole = lines(&root);
    fs::write(root.join("segments/strange"), "x").unwrap();
    let pipe = root.join("segments/telemetry/0000000077.db");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for verb in ["ls", "cat", "verify"] {
        let Ran { code, out, err } = run(verb, &root, &[]);
        assert_eq!(code, 2, "{verb}: {out}{err}");
        let said = format!("{out}{err}");
        assert!(
            said.contains("strange") && said.contains("not a regular file"),
            "{said}"
        );
    }
    assert_eq!(lines(&root), whole);
    let Ran { code, err, .. } = run("verify", &pipe, &[]);
    assert!(
        code == 2 && err.contains("not a regular file"),
        "{code} {err}"
    );
}

#[test]
fn a_wal_without_its_database() {
    let (_folder, root) = crashed();
    let wal = contents(&root)
        .into_keys()
        .find(|path| path.to_string_lossy().ends_with(".db-wal") && path.parent() != Some(&root))
        .unwrap();
    let database = wal
        .to_string_lossy()
        .strip_suffix("-wal")
        .unwrap()
        .to_owned();
    fs::remove_file(&database).unwrap();
    let Ran { code, out, err } = run("verify", &root, &[]);
    assert_eq!(code, 2, "{out}{err}");
    assert!(out.contains("its database is missing"), "{out}");
}

/// The catalogue has lost what it knew of epochs and streams; the segments carry their own.
#[test]
fn a_catalogue_without_declarations() {
    let (_folder, root) = closed();
    let whole = lines(&root);
    let epochs = run("ls", &root, &[]).out.matches("EPOCH").count();
    let meta = rusqlite::Connection::open(root.join("meta.db")).unwrap();
    meta.execute_batch("DELETE FROM streams; DELETE FROM epochs;")
        .unwrap();
    meta.close().unwrap();
    assert_eq!(lines(&root), whole);
    assert_eq!(run("ls", &root, &[]).out.matches("EPOCH").count(), epochs);
    assert!(run("show", &root, &[]).out.lines().count() > 2);
    let Ran { code, out, .. } = run("verify", &root, &[]);
    assert!(code == 2 && out.contains("declares the streams"), "{out}");
    let sealed = root.parent().unwrap().join("all.efdparcel");
    let Ran { code, out, err } = run("send", &root, &["--seal", &sealed.to_string_lossy()]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
}

#[test]
fn missing_segments_are_in_the_account_and_in_the_report_of_a_repair() {
    let (folder, root) = closed();
    fs::remove_file(segment(&root, "telemetry", 1)).unwrap();
    let Ran { code, out, .. } = run("account", &root, &[]);
    assert!(code == 2 && out.contains("not here: "), "{out}");
    let json: serde_json::Value =
        serde_json::from_str(&run("account", &root, &["--json"]).out).unwrap();
    assert_eq!(json["absent_blocks"].as_array().unwrap().len(), 1, "{json}");
    let to = folder.path().join("repaired");
    assert_eq!(
        run("repair", &root, &["--to", &to.to_string_lossy()]).code,
        2
    );
    let report = fs::read_to_string(to.join("repair.jsonl")).unwrap();
    assert!(report.contains("cannot be read"), "{report}");
}

#[test]
fn nothing_is_written_into_what_is_inspected() {
    let (_folder, root) = closed();
    let before = contents(&root);
    let file = segment(&root, "telemetry", 0);
    let inside = |name: &str| root.join(name).to_string_lossy().into_owned();
    let attempts: [(&str, &std::path::Path, &[&str]); 4] = [
        ("send", &root, &["--seal", &inside("x.efdparcel")]),
        (
            "repair",
            &file,
            &["--to", &inside("segments/telemetry/new")],
        ),
        ("export", &file, &["--to", &inside("new")]),
        ("export", &root, &["--to", &inside("new")]),
    ];
    for (verb, path, arguments) in attempts {
        let Ran { code, out, err } = run(verb, path, arguments);
        assert!(
            code == 1 && err.contains("is inside"),
            "{verb}: {code} {out}{err}"
        );
    }
    assert!(contents(&root) == before);
}

/// Slips of the fingers are told at once.
#[test]
fn wrong_arguments_of_the_rescue() {
    let (folder, root) = closed();
    let sealed = folder
        .path()
        .join("x.efdparcel")
        .to_string_lossy()
        .into_owned();
    for arguments in [
        &["--seal", &sealed, "--lane", "nosuch"][..],
        &["--seal", &sealed, "--from", "2060-01-01T00:00:00Z"],
        &["--centre", "efd.example.org", "--certificates", "nowhere"],
        &[
            "--centre",
            "efd.example.org:99999",
            "--certificates",
            "nowhere",
        ],
    ] {
        let Ran { code, out, err } = run("send", &root, arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?} {err}");
        assert!(
            err.contains("that time") || err.contains("host:port"),
            "{err}"
        );
    }
    assert!(!std::path::Path::new(&sealed).exists());
    let Ran { code, .. } = run(
        "cat",
        &root,
        &["--follow", "--until", "2026-01-01T00:00:00Z"],
    );
    assert_eq!(code, 1);
}

#[test]
fn last_words_that_nobody_hears() {
    let (folder, _root) = closed();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_efd-inspect"))
        .args(["cat", "nothing-here"])
        .current_dir(folder.path())
        .stderr(full)
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
}

/// Every bit of a sealed file's header: its entries are read all the same.
#[test]
fn a_sealed_file_with_a_damaged_header() {
    let (folder, root) = closed();
    let sealed = folder.path().join("x.efdparcel");
    let path = sealed.to_string_lossy().into_owned();
    assert_eq!(run("send", &root, &["--seal", &path]).code, 0);
    let Ran { code, err, .. } = run("ls", &sealed, &[]);
    assert!(code == 1 && err.contains("is a sealed file"), "{err}");
    let whole = run("verify", &sealed, &[]).out;
    let good = fs::read(&sealed).unwrap();
    for at in 0..14 {
        let mut bad = good.clone();
        bad[at] ^= 0x11;
        fs::write(&sealed, bad).unwrap();
        let Ran { code, out, err } = run("verify", &sealed, &[]);
        assert!(
            code == 2 && err.contains("header is damaged"),
            "{at}: {code} {out}{err}"
        );
        assert_eq!(out, whole.replace("intact", "DAMAGED"));
    }
}
