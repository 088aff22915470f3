//! `export`: what the files say, by readers that share no code with us where there is one.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::world::{BEGIN, Ran, SECOND, closed, contents, crashed, run, segment};

fn export(root: &Path, to: &Path, arguments: &[&str]) -> Ran {
    let to = to.to_str().unwrap();
    run("export", root, &[&["--to", to], arguments].concat())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn parquet(file: &Path) -> (Arc<arrow::datatypes::Schema>, Vec<RecordBatch>) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file).unwrap()).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches = reader.build().unwrap().map(Result::unwrap).collect();
    (schema, batches)
}

#[test]
fn parquet_has_every_record_with_its_name_and_units() {
    let (folder, root) = crashed();
    let before = contents(&root);
    let to = folder.path().join("out");
    let Ran { code, out, err } = export(&root, &to, &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(contents(&root), before);
    assert_eq!(
        names(&to),
        [
            "efd.losses.parquet",
            "efd.parked.parquet",
            "lsst.sal.MTMount.elevation.parquet",
            "lsst.sal.Test.logevent_summaryState.parquet"
        ]
    );
    assert!(out.contains("130 records, "), "{out}");

    let (schema, batches) = parquet(&to.join("lsst.sal.MTMount.elevation.parquet"));
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(
        columns,
        [
            "time",
            "private_sndStamp",
            "angle",
            "torque",
            "efd_edge",
            "efd_epoch",
            "efd_lane",
            "efd_block",
            "efd_index",
            "efd_time_origin",
            "efd_implausible",
            "efd_latin1"
        ]
    );
    let mut rows = 0;
    for batch in &batches {
        let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
        let angles = batch.column(2).as_primitive::<Float64Type>();
        let torques = batch.column(3).as_list::<i32>();
        let epochs = batch.column(5).as_string::<i32>();
        let blocks = batch.column(7).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let (index, block) = ((rows % 10) as i64, blocks.value(row));
            let hour = if epochs.value(row).starts_with("01") {
                0
            } else {
                3600
            };
            let time = BEGIN + (hour + block * 10 + index) * SECOND;
            assert_eq!(times.value(row), time);
            if index == 3 {
                assert!(angles.value(row).is_nan());
            } else {
                assert_eq!(angles.value(row), block as f64 + index as f64 / 4.0);
            }
            let torque = torques.value(row);
            let torque = torque.as_primitive::<Float64Type>();
            assert_eq!(torque.len(), 40);
            assert_eq!(torque.value(7), 7.0 * (time % 1009) as f64);
            rows += 1;
        }
    }
    assert_eq!(rows, 120);
}

#[test]
fn csv_is_quoted_where_it_has_to_be() {
    let (folder, root) = closed();
    let to = folder.path().join("out");
    let Ran { code, err, .. } = export(
        &root,
        &to,
        &["--format", "csv", "--topic", "Test.*", "--limit", "3"],
    );
    assert_eq!((code, err.as_str()), (0, ""));
    let text = fs::read_to_string(to.join("lsst.sal.Test.logevent_summaryState.csv")).unwrap();
    let id = "edededed-eded-eded-eded-edededededed/01010101-0101-0101-0101-010101010101/events";
    assert_eq!(
        text,
        format!(
            "time,salIndex,state,efd_id,efd_implausible\r\n\
             2026-11-24T00:00:00.000000002Z,1,\"ENABLED \"\"1\"\"\",{id}/1/0,false\r\n\
             2026-11-24T00:00:00.000000003Z,2,\"ENABLED \"\"1\"\"\",{id}/1/1,false\r\n\
             2026-11-24T00:00:00.000000003Z,1,\"ENABLED \"\"2\"\"\",{id}/2/0,false\r\n"
        )
    );
    let to = folder.path().join("arrays");
    export(
        &root,
        &to,
        &[
            "--format",
            "csv",
            "--topic",
            "MTMount.elevation",
            "--limit",
            "4",
        ],
    );
    let text = fs::read_to_string(to.join("lsst.sal.MTMount.elevation.csv")).unwrap();
    let fourth = text.lines().nth(4).unwrap();
    assert!(fourth.contains(",NaN,\"[0.0,"), "{fourth}");
    assert_eq!(text.lines().count(), 5);
}

#[test]
fn avro_files_are_read_by_another_implementation() {
    let (folder, root) = closed();
    let to = folder.path().join("out");
    let Ran { code, err, .. } = export(&root, &to, &["--format", "avro", "--topic", "*elevation"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let file = fs::File::open(to.join("lsst.sal.MTMount.elevation.avro")).unwrap();
    let reader = apache_avro::Reader::new(file).unwrap();
    let mut rows = 0;
    for record in reader {
        let apache_avro::types::Value::Record(fields) = record.unwrap() else {
            panic!("not a record");
        };
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["private_sndStamp", "angle", "torque"]);
        let (_, apache_avro::types::Value::Double(stamp)) = &fields[0] else {
            panic!("not a double");
        };
        let hour = if rows < 60 { 0 } else { 3600 };
        let second = hour + 10 + rows % 60;
        assert_eq!(*stamp, (BEGIN / SECOND + second) as f64);
        rows += 1;
    }
    assert_eq!(rows, 120);
}

#[test]
fn a_span_and_a_topic_are_exported_and_counted_for_programs() {
    let (folder, root) = closed();
    let to = folder.path().join("out");
    let span = [
        "--from",
        "2026-11-24T00:00:12Z",
        "--until",
        "2026-11-24T00:00:15Z",
    ];
    let Ran { code, out, .. } = export(
        &root,
        &to,
        &[&["--topic", "*elevation", "--json"], &span[..]].concat(),
    );
    assert_eq!(code, 0);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&told["records"], &told["files"][0]["records"]),
        (&3.into(), &3.into())
    );
    assert_eq!(told["files"][0]["topic"], "lsst.sal.MTMount.elevation");
    let bytes = fs::metadata(to.join(told["files"][0]["file"].as_str().unwrap()))
        .unwrap()
        .len();
    assert_eq!(told["files"][0]["bytes"], bytes);
}

#[test]
fn what_is_intact_is_exported_from_a_damaged_buffer() {
    let (folder, root) = closed();
    let file = segment(&root, "telemetry", 1);
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes
        .windows(4)
        .rposition(|window| window == b"EFDB")
        .unwrap();
    for byte in &mut bytes[last + 100..last + 300] {
        *byte ^= 0x5a;
    }
    fs::write(&file, bytes).unwrap();
    let to = folder.path().join("out");
    let Ran { code, out, err } = export(&root, &to, &["--topic", "*elevation"]);
    assert_eq!(code, 2, "{out}{err}");
    let seen = run("cat", &root, &["--topic", "*elevation"]);
    let (_, batches) = parquet(&to.join("lsst.sal.MTMount.elevation.parquet"));
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, seen.lines());
    assert_eq!(rows, 110);
}

#[test]
fn exports_never_share_a_folder_and_an_interrupted_one_is_known_for_it() {
    let (_folder, root) = closed();
    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("out");
    let begun = |format: &str| {
        let mut command = crate::world::command();
        command.arg("export").arg(&root).arg("--to").arg(&to);
        command.args(["--format", format]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    for _ in 0..5 {
        let both = ["csv", "csv", "csv"].map(begun);
        let succeeded = both.map(|mut child| child.wait().unwrap().success());
        let count = succeeded.iter().filter(|success| **success).count();
        assert_eq!(count, 1, "{succeeded:?}");
        assert!(
            names(&to).iter().all(|name| name.ends_with(".csv")),
            "{:?}",
            names(&to)
        );
        fs::remove_dir_all(&to).unwrap();
    }
    fs::create_dir(&to).unwrap();
    fs::write(to.join("export.partial"), "").unwrap();
    let Ran { code, err, .. } = export(&root, &to, &[]);
    assert_eq!(code, 1);
    assert!(err.contains("under way or was interrupted"), "{err}");
    assert_eq!(names(&to), ["export.partial"]);
}

#[test]
fn a_folder_that_is_not_empty_or_inside_the_buffer_is_refused() {
    let (folder, root) = closed();
    let before = contents(&root);
    for inside in [root.join("out"), root.clone(), root.join("a/b/c")] {
        let Ran { code, err, .. } = export(&root, &inside, &[]);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("never written to"), "{err}");
    }
    assert_eq!(contents(&root), before);
    let full = folder.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("mine"), "").unwrap();
    let Ran { code, err, .. } = export(&root, &full, &[]);
    assert_eq!(code, 1);
    assert!(err.contains("is not empty"), "{err}");
}
