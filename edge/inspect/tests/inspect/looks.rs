//! `show` and `retention`.

use crate::world::{Ran, closed, contents, run};

const ONE: &str = "edededed-eded-eded-eded-edededededed/01010101-0101-0101-0101-010101010101";

#[test]
fn streams_and_fields() {
    let (_folder, root) = closed();
    let before = contents(&root);
    let Ran { code, out, err } = run("show", &root, &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out.lines().count(), 1 + 2 * 4, "{out}");
    let Ran { code, out, .. } = run("show", &root, &["MTMount.elevation"]);
    assert_eq!(code, 0);
    let field = out.lines().find(|line| line.starts_with("torque")).unwrap();
    assert!(field.contains("double[]"), "{out}");
    let Ran { out, .. } = run("show", &root, &["*elevation", "--json"]);
    let line: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(line["schema"]["name"], "lsst.sal.MTMount.elevation");
    let Ran { code, err, .. } = run("show", &root, &["MTMount.elevatoin"]);
    assert_eq!(code, 1);
    assert!(err.contains("no topic of"), "{err}");
    assert_eq!(contents(&root), before);
}

#[test]
fn a_block_and_a_record() {
    let (_folder, root) = closed();
    let block = format!("{ONE}/telemetry/2");
    let Ran { code, out, err } = run("show", &root, &[&block]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.contains("10 records from 2026-11-24T00:00:20.000000000Z"),
        "{out}"
    );
    assert!(out.contains("lsst.sal.MTMount.elevation"), "{out}");
    let Ran { out, .. } = run("show", &root, &[&block, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["sections"][0]["records"], 10);

    let record = format!("{block}/3");
    let Ran { code, out, .. } = run("show", &root, &[&record]);
    assert_eq!(code, 0);
    assert!(
        out.lines()
            .any(|line| line.starts_with("angle") && line.contains("NaN")),
        "{out}"
    );
    let Ran { out, .. } = run("show", &root, &[&record, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["fields"]["angle"]["value"], "NaN");
    assert_eq!(told["id"], record);
    for (what, expected) in [
        (format!("{ONE}/telemetry/99"), "is not held"),
        (format!("{block}/10"), "its block has 10"),
        ("a/b/c".to_owned(), "is neither a topic nor"),
        (format!("{ONE}/telemetry/2/x"), "is neither a topic nor"),
    ] {
        let Ran { code, err, .. } = run("show", &root, &[&what]);
        assert_eq!(code, 1);
        assert!(err.contains(expected), "{what}: {err}");
    }
}

#[test]
fn the_plan_of_retention_is_told_and_not_carried_out() {
    let (_folder, root) = closed();
    let before = contents(&root);
    let Ran { code, out, err } = run("retention", &root, &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    // The first segment of telemetry has the acknowledged blocks, and the world is older than a week or will be.
    let plan = |arguments: &[&str]| {
        let Ran { code, out, err } = run("retention", &root, &[arguments, &["--json"]].concat());
        assert_eq!((code, err.as_str()), (0, ""));
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    let by_age = plan(&["--retain", "1s", "--retain-events", "1s"]);
    let steps = by_age["steps"].as_array().unwrap();
    assert!(!steps.is_empty(), "{out}");
    assert!(
        steps
            .iter()
            .all(|step| step["why"] == "age" && step["lost"].as_array().unwrap().is_empty())
    );
    let by_bytes = plan(&[
        "--retain",
        "10000d",
        "--retain-events",
        "10000d",
        "--bytes-max",
        "1KiB",
        "--untyped-bytes-max",
        "1KiB",
    ]);
    let steps = by_bytes["steps"].as_array().unwrap();
    let whys: Vec<_> = steps
        .iter()
        .map(|step| step["why"].as_str().unwrap())
        .collect();
    assert!(whys.contains(&"bytes"), "{whys:?}");
    let lost: u64 = steps
        .iter()
        .flat_map(|step| step["lost"].as_array().unwrap())
        .map(|lost| lost["records_max"].as_u64().unwrap())
        .sum();
    assert!(lost > 0);
    let Ran { code, err, .. } = run("retention", &root, &["--destination", "nobody"]);
    assert_eq!(code, 1);
    assert!(err.contains("there are centre"), "{err}");
    assert_eq!(contents(&root), before);
}
