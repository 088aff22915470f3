//! Statistics of windows beside the segments: listed, shown, verified, carried over.

use std::fs;
use std::path::{Path, PathBuf};

use efd_shared_model::{Schema, UtcNanos};
use efd_shared_stats::{Kernel, Resolution};
use efd_shared_store::database::Disk;
use efd_shared_tiers::{Note, Run, SeriesKey, Shape, Span, Statistics, TierFile};
use serde_json::Value;

use crate::world::{BEGIN, Ran, SECOND, closed, run};

/// Two windows of a scalar and an array; the second value is a NaN.
fn with_tier(root: &Path) -> PathBuf {
    let path = root.join("tiers/10s/20261124T000000Z.db");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let span = Span {
        resolution: Resolution::from_seconds(10).unwrap(),
        begin: UtcNanos(BEGIN),
        end: UtcNanos(BEGIN + 3600 * SECOND),
    };
    let schema = Schema::new(
        r#"{"type":"record","name":"t","namespace":"lsst.sal.Test","fields":[{"name":"a","type":"double"},
            {"name":"b","type":{"type":"array","items":"double"}},{"name":"c","type":"string"}]}"#,
    );
    let series = SeriesKey {
        topic: "lsst.sal.Test.t".into(),
        instance: Some(3),
        schema: schema.fingerprint(),
        shape: Shape(vec![1, 2]),
    };
    let mut by_window = Vec::new();
    for rows in [[1.0, 5.0, 7.0, f64::NAN, 6.0, 8.0], [2.0; 6]] {
        let mut summaries = Vec::new();
        Kernel::new().rows(&rows, 3, &mut summaries);
        by_window.push(summaries);
    }
    let summaries: Vec<_> = (0..3)
        .flat_map(|channel| by_window.iter().map(move |window| window[channel]))
        .collect();
    let run = Run {
        series: &series,
        schema: &schema,
        starts: &[UtcNanos(BEGIN), UtcNanos(BEGIN + 20 * SECOND)],
        rows: &[2, 2],
        summaries: &summaries,
        kept: Statistics::ALL,
    };
    let mut file = TierFile::open(&path, span, &Disk::default()).unwrap();
    file.commit(&[run], &Note::new()).unwrap();
    // As a dead edge leaves it, with its WAL.
    drop(file);
    path
}

fn lines(root: &Path, arguments: &[&str]) -> Vec<Value> {
    let Ran { code, out, err } = run("tiers", root, arguments);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines = out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn windows_are_listed_and_shown() {
    let (_folder, root) = closed();
    with_tier(&root);
    let list = run("tiers", &root, &[]).out;
    assert!(
        list.contains("10s") && list.contains("2026-11-24T00:00:00Z"),
        "{list}"
    );
    assert!(run("ls", &root, &[]).out.contains("10s"));
    let shown = lines(&root, &["--cat", "10s"]);
    assert_eq!(shown.len(), 2);
    let first = &shown[0];
    assert_eq!(first["time"], "2026-11-24T00:00:00.000000000Z");
    assert_eq!(
        (&first["topic"], &first["instance"]),
        (&"lsst.sal.Test.t".into(), &3.into())
    );
    let a = &first["fields"]["a"];
    assert_eq!(
        (&a["count"], &a["nan_count"], &a["mean"]),
        (&1.into(), &1.into(), &1.0.into())
    );
    assert_eq!(a["stdev"], Value::Null);
    let b = &first["fields"]["b"];
    assert_eq!((&b[0]["median"], &b[1]["last"]), (&5.5.into(), &8.0.into()));
    assert!(first["fields"].get("c").is_none());
    let from = ["--cat", "10s", "--from", "2026-11-24T00:00:10Z"];
    assert_eq!(lines(&root, &from).len(), 1);
    assert_eq!(
        lines(&root, &["--cat", "10s", "--topic", "MTMount.*"]).len(),
        0
    );
    let Ran { code, err, .. } = run("tiers", &root, &["--cat", "1min"]);
    assert_eq!(code, 1);
    assert!(err.contains("no tier `1min` here: there are 10s"), "{err}");
}

#[test]
fn they_are_verified_and_carried_over() {
    let (folder, root) = closed();
    let path = with_tier(&root);
    let Ran { code, out, .. } = run("verify", &root, &[]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("1 files of tiers"), "{out}");
    let shown = lines(&root, &["--cat", "10s"]);
    let mended = folder.path().join("mended");
    let repair = |to: &Path| run("repair", &root, &["--to", to.to_str().unwrap()]);
    assert_eq!(repair(&mended).code, 0);
    assert_eq!(lines(&mended, &["--cat", "10s"]), shown);
    assert_eq!(run("verify", &mended, &[]).code, 0);
    // A flipped bit in the values, which are still in the WAL.
    let wal = PathBuf::from(format!("{}-wal", path.display()));
    let file = if wal.exists() { &wal } else { &path };
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 4;
    fs::write(file, bytes).unwrap();
    let Ran { code, out, .. } = run("verify", &root, &[]);
    // SQLite takes no frame of a WAL whose checksum is wrong: then the commit never was, and nothing is damaged.
    let is_gone = lines(&root, &["--cat", "10s"]).is_empty();
    assert!(code == 2 || is_gone, "{out}");
    fs::write(&path, vec![7; 50_000]).unwrap();
    let Ran { code, out, .. } = run("verify", &root, &[]);
    assert_eq!(code, 2);
    assert!(out.contains("20261124T000000Z.db"), "{out}");
    let mended = folder.path().join("mended again");
    let Ran { code, err, .. } = repair(&mended);
    assert_eq!(code, 2);
    assert!(err.contains("is left out"), "{err}");
    assert!(!mended.join("tiers").exists());
}
