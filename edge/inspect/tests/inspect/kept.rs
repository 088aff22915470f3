//! Buffers that earlier versions wrote, each beside what every command says of it: later builds read them the same way.
//!
//! `EFD_WRITE_FIXTURE=1 cargo test -p efd-edge-inspect kept` writes a buffer of the version at hand, and what is said of
//! a buffer, where there is none.

use std::fs;
use std::path::{Path, PathBuf};

use efd_shared_model::{LaneKind, UtcNanos};
use efd_shared_store::{LaneName, Options, Store};

use crate::world::{
    BEGIN, Ran, SECOND, contents, copy, declare, event, loss, parked, run, telemetry,
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Those of the store have datums that do not fit their schemas.
fn kept() -> Vec<PathBuf> {
    let of_store = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/store/fixtures");
    let folders = [fixtures(), of_store].into_iter().flat_map(|folder| {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path())
    });
    let mut folders: Vec<_> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Segments closed and open, values, acknowledgements, a removed segment; with `is_crashed`, rows in WAL files.
fn write(to: &Path, is_crashed: bool) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("buffer");
    let options = Options {
        segment_bytes_max: 2_000,
        reserve_bytes: 0,
        ..Options::default()
    };
    let (mut store, _) = Store::open(&root, options).unwrap();
    let now = UtcNanos(BEGIN + 60 * SECOND);
    let lane = |kind: LaneKind| kind.as_str().parse::<LaneName>().unwrap();
    declare(&mut store, 1);
    let blocks = if is_crashed { 1..=2 } else { 1..=6 };
    for number in blocks {
        let value = number.to_string();
        let state = Some(("publishers", value.as_bytes()));
        let block = [telemetry(1, number)];
        store
            .append(&lane(LaneKind::Telemetry), &block, state, now)
            .unwrap();
    }
    if !is_crashed {
        declare(&mut store, 2);
        for (kind, block) in [
            (LaneKind::Events, event(2, 1)),
            (LaneKind::Losses, loss(1)),
            (LaneKind::Parked, parked(1)),
        ] {
            store.append(&lane(kind), &[block], None, now).unwrap();
        }
        let first = store.segments();
        let first = first
            .iter()
            .find(|info| info.key.lane == lane(LaneKind::Telemetry));
        store.remove(&first.unwrap().key.clone()).unwrap();
    }
    let acked = [1..=3].into_iter().collect();
    store.add_acked("centre", &crate::world::log(1, LaneKind::Telemetry), &acked);
    store.put_value("name", b"value").unwrap();
    if is_crashed {
        store.save_acked().unwrap();
        copy(&root, to);
    } else {
        store.close().unwrap();
        copy(&root, to);
    }
    fs::remove_file(to.join("lock")).unwrap();
}

/// Everything that every command says of a buffer.
fn said(root: &Path, out: &Path) -> String {
    let mut all = String::new();
    let mut ask = |verb: &str, arguments: &[&str]| {
        let Ran {
            code,
            out: said,
            err,
        } = run(verb, root, arguments);
        let text = format!("{said}{err}");
        let text = text.replace(&root.display().to_string(), "BUFFER");
        let text = text.replace(&out.display().to_string(), "OUT");
        let arguments = arguments
            .join(" ")
            .replace(&out.display().to_string(), "OUT");
        all.push_str(&format!(
            "$ efd-inspect {verb} BUFFER {arguments}\n{text}exit code {code}\n\n"
        ));
    };
    ask("ls", &[]);
    ask("ls", &["--json"]);
    ask("show", &[]);
    ask("show", &["*"]);
    ask("cat", &[]);
    ask("cat", &["--raw"]);
    ask("verify", &[]);
    ask("account", &["--hours"]);
    let keeps_nothing = [
        "--retain",
        "10000d",
        "--retain-events",
        "10000d",
        "--bytes-max",
        "1KiB",
        "--untyped-bytes-max",
        "1KiB",
    ];
    ask("retention", &keeps_nothing);
    let to = |name: &str| out.join(name).display().to_string();
    ask("export", &["--format", "csv", "--to", &to("csv")]);
    ask("export", &["--format", "avro", "--to", &to("avro")]);
    ask("repair", &["--json", "--to", &to("repaired")]);
    all
}

#[test]
fn buffers_of_every_version_are_read_as_ever() {
    let may_write = std::env::var_os("EFD_WRITE_FIXTURE").is_some();
    for (name, is_crashed) in [("buffer-v1", false), ("buffer-v1-crashed", true)] {
        let folder = fixtures().join(name);
        if may_write && !folder.exists() {
            write(&folder, is_crashed);
        }
    }
    let folders = kept();
    assert!(folders.len() >= 3, "{folders:?}");
    for fixture in folders {
        let name = fixture.file_name().unwrap().to_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        // SQLite makes a `-shm` beside a WAL; with none, the fixture itself is read.
        let has_wal = contents(&fixture)
            .keys()
            .any(|path| path.to_string_lossy().ends_with("-wal"));
        let root = if has_wal {
            let root = folder.path().join("buffer");
            copy(&fixture, &root);
            root
        } else {
            fixture.clone()
        };
        let before = contents(&fixture);
        let said = said(&root, folder.path());
        assert!(contents(&fixture) == before, "{name}: it wrote");
        let golden = fixtures().join(format!("{name}.said"));
        if may_write && !golden.exists() {
            fs::write(&golden, &said).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap();
        for (line, (found, expected)) in said.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "{}:{}", golden.display(), line + 1);
        }
        assert_eq!(said.len(), expected.len(), "{}", golden.display());

        // Parquet has the writer's version in it: what is in the files is compared, not their bytes.
        let parquet = folder.path().join("parquet");
        let cat = run("cat", &root, &[]);
        let told = run(
            "export",
            &root,
            &["--json", "--to", parquet.to_str().unwrap()],
        );
        let told: serde_json::Value = serde_json::from_str(&told.out).unwrap();
        let readable = cat
            .out
            .lines()
            .filter(|line| !line.contains("\"error\":"))
            .count();
        assert_eq!(told["records"], readable, "{name}");
        let repaired = run("cat", &folder.path().join("repaired"), &[]);
        assert_eq!((repaired.out, repaired.code), (cat.out, cat.code), "{name}");
    }
}
