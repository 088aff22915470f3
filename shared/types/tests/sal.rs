//! Both generations of SAL, and what becomes of a registry while files come and go.

use efd_shared_types::avro::AvroSchema;
use efd_shared_types::registry::Change;
use efd_shared_types::sal::SalKind;
use efd_shared_types::{Mapping, NoMapping, Registry, SalTopic, TypeName, idl};

/// As generators of 2019 wrote it: no versions, no metadata, `TestID`, `private_host`, structs for
/// their own use with the brace on the next line.
const OLD: &str = "\
module Test {
struct command_start_0dd79125 {
	  long	TestID;
	  string<8>	private_revCode; //private
	  double	private_sndStamp; //private
	  double	private_rcvStamp; //private
	  long	private_seqNum; //private
	  long	private_origin; //private
	  long private_host; //private
	  string	settings;
	  unsigned long	mask[5];
	};
#pragma keylist command_start_0dd79125 TestID
#pragma keylist command_start_1234abcd TestID
	 const long start_Enum_Four=04;
	 struct command
	{
	  string<8> private_revCode;
	  long private_origin; long private_host; long private_seqNum;
	};
	 struct ackcmd
	{
	  long ack; string<256> result;
	};
	 struct logevent
	{
	  string message;
	};
};
";

const PRIVATE: &str = "double private_sndStamp; double private_rcvStamp; long private_seqNum;";

fn mapping(text: &str, name: &str) -> Result<Mapping, NoMapping> {
    let parsed = idl::parse(text);
    assert_eq!(parsed.errors, [], "{text}");
    Mapping::of(&parsed.types(), &parsed.versions, &TypeName::new(name))
}

#[track_caller]
fn topic(text: &str, name: &str) -> SalTopic {
    match mapping(text, name) {
        Ok(Mapping::Sal(topic)) => *topic,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_older_generation() {
    let it = topic(OLD, "Test::command_start_0dd79125");
    assert_eq!(it.component, "Test");
    assert_eq!(it.sal_topic, "command_start");
    assert_eq!(it.kind, SalKind::Command);
    assert_eq!(it.revision, "0dd79125");
    assert_eq!(it.dds_topic, "Test_command_start_0dd79125");
    assert_eq!(it.avro_name(), "lsst.sal.Test.command_start");
    assert_eq!(it.keys, [0]);
    assert_eq!(it.private.index, Some(0));
    assert_eq!(it.private.rev_code, Some(1));
    assert_eq!(it.private.snd_stamp, 2);
    assert_eq!(it.private.rcv_stamp, 3);
    assert_eq!(it.private.seq_num, 4);
    assert_eq!(it.private.origin, Some(5));
    assert_eq!(it.private.host, Some(6));
    assert_eq!(it.private.identity, None);
    let efd = r#"{"name":"private_efdStamp","type":"double","description":"UTC time for EFD timestamp. An integer (the number of leap seconds) different from private_sndStamp.","units":"second","default":0.0}"#;
    let kafka = r#"{"name":"private_kafkaStamp","type":"double","description":"TAI time at which the Kafka message was created.","units":"second","default":0.0}"#;
    let rest = r#"{"name":"TestID","type":"long","default":0},{"name":"private_revCode","type":"string","default":""},{"name":"private_sndStamp","type":"double","default":0.0},{"name":"private_rcvStamp","type":"double","default":0.0},{"name":"private_seqNum","type":"long","default":0},{"name":"private_origin","type":"long","default":0},{"name":"private_host","type":"long","default":0},{"name":"settings","type":"string","default":""},{"name":"mask","type":{"type":"array","items":"long"},"default":[0,0,0,0,0]}"#;
    assert_eq!(
        AvroSchema::of(&it).json,
        format!(
            r#"{{"name":"lsst.sal.Test.command_start","type":"record","fields":[{efd},{kafka},{rest}]}}"#
        )
    );
}

#[test]
fn placeholders_are_skipped() {
    for name in ["Test::command", "Test::ackcmd", "Test::logevent"] {
        assert_eq!(mapping(OLD, name), Ok(Mapping::Placeholder), "{name}");
    }
    let parsed = idl::parse(OLD);
    assert_eq!(parsed.definitions.len(), 4);
    assert_eq!(parsed.constants.len(), 1);
    let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["14:1: keylist for unknown struct `command_start_1234abcd`: ignored"]
    );
}

#[test]
fn kinds_and_metadata() {
    let cases = [
        ("ackcmd_0f0f0f0f", SalKind::AckCmd),
        ("logevent_a_0f0f0f0f", SalKind::Event),
        ("command_a_0f0f0f0f", SalKind::Command),
        ("a_b_0f0f0f0f", SalKind::Telemetry),
        ("logevents_0f0f0f0f", SalKind::Telemetry),
    ];
    for (name, kind) in cases {
        let text = format!("module M {{ struct {name} {{ {PRIVATE} }}; }};");
        let it = topic(&text, &format!("M::{name}"));
        assert_eq!(it.kind, kind, "{name}");
        assert!(!it.is_indexed());
    }
    let text = format!(
        "// SAL_VERSION=1 XML_VERSION=2\nmodule M {{ struct a_0f0f0f0f {{ // @Metadata=(Description=\"D\")\n {PRIVATE}\n\
         typed t; // @Metadata=(Units=\"m\",Description=\"T\")\n }}; }};"
    );
    let text = text.replace("struct a_", "typedef float typed; struct a_");
    let json = AvroSchema::of(&topic(&text, "M::a_0f0f0f0f")).json;
    let end = r#"{"name":"t","type":"double","default":0.0,"description":"T","units":"m"}],"sal_version":"1","xml_version":"2","description":"D"}"#;
    assert!(json.ends_with(end), "{json}");
}

#[test]
fn what_has_no_mapping_says_why() {
    let check = |name: &str, members: &str, expected: &str| {
        let text = format!(
            "struct N {{ long n; }}; enum E {{ A }}; module M {{ struct {name} {{ {members} }}; }};"
        );
        let error = mapping(&text, &format!("M::{name}")).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    let with = |member: &str| format!("{PRIVATE} {member}");
    let name = "a_0f0f0f0f";
    check(
        name,
        &with("sequence<octet> data;"),
        "no mapping for sequence yet: member `data` of `M::a_0f0f0f0f`",
    );
    check(
        name,
        &with("N n;"),
        "no mapping for nested structs yet: member `n` of `M::a_0f0f0f0f`",
    );
    check(
        name,
        &with("E e[3];"),
        "no mapping for enum yet: member `e` of `M::a_0f0f0f0f`",
    );
    check(
        name,
        &with("long m[2][3];"),
        "no mapping for array of several dimensions yet: member `m` of `M::a_0f0f0f0f`",
    );
    check(
        name,
        &with("@optional long o;"),
        "no mapping for optional members yet: member `o` of `M::a_0f0f0f0f`",
    );
    check(
        name,
        &with("char c;"),
        "no mapping for char yet: member `c` of `M::a_0f0f0f0f`",
    );
    check(
        name,
        &with("long a[65533]; long b;"),
        "`M::a_0f0f0f0f` has 65537 elements up to its member `b`, a topic may have 65536",
    );
    check(
        name,
        &with("long b[16777216];"),
        "`M::a_0f0f0f0f` has 16777219 elements up to its member `b`, a topic may have 65536",
    );
    check(
        name,
        "long a;",
        "`M::a_0f0f0f0f` has no member `private_sndStamp` of type double, which a SAL topic has",
    );
    check(
        "Pose",
        "long a;",
        "no mapping for types that are not SAL yet: `M::Pose` does not end in a revision code of 8 hexadecimal digits",
    );
    check(
        "a_0F0F0F0F",
        "long a;",
        "no mapping for types that are not SAL yet: `M::a_0F0F0F0F` does not end in a revision code of 8 hexadecimal digits",
    );
    let error = mapping("struct a_0f0f0f0f { long a; };", "a_0f0f0f0f").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no mapping for types that are not SAL yet: `a_0f0f0f0f` is not in exactly one module"
    );
    assert_eq!(
        mapping("", "M::x").unwrap_err().to_string(),
        "no struct `M::x`"
    );
}

fn file(members: &[(&str, &str)]) -> Vec<u8> {
    let structs = members
        .iter()
        .map(|(name, extra)| format!("struct {name} {{ {PRIVATE} {extra} }};\n"));
    format!("module M {{\n{}}};", structs.collect::<String>()).into_bytes()
}

fn names(names: &[&str]) -> Vec<TypeName> {
    names.iter().map(|name| TypeName::new(name)).collect()
}

#[test]
fn files_come_change_and_go() {
    let (a, b, c) = ("a_00000001", "b_00000002", "c_00000003");
    let mut registry = Registry::default();
    let change = registry.load("m.idl", &file(&[(a, ""), (b, "")]));
    let expected = Change {
        added: names(&["M::a_00000001", "M::b_00000002"]),
        ..Change::default()
    };
    assert_eq!(change, expected);
    assert_eq!(
        registry.load("m.idl", &file(&[(a, ""), (b, "")])),
        Change::default()
    );

    let change = registry.load("m.idl", &file(&[(b, "long x;"), (c, "lnog y;")]));
    let expected = Change {
        changed: names(&["M::b_00000002"]),
        removed: names(&["M::a_00000001"]),
        ..Change::default()
    };
    assert_eq!(change, expected);
    let errors: Vec<String> = registry
        .errors()
        .map(|(file, error)| format!("{file}:{error}"))
        .collect();
    assert_eq!(
        errors,
        ["m.idl:3:92: unknown type `lnog`; did you mean `long`?"]
    );
    assert!(registry.get("M::a_00000001").is_none());
    assert_eq!(
        registry
            .get("M::b_00000002")
            .unwrap()
            .sal()
            .unwrap()
            .0
            .fields
            .len(),
        4
    );

    assert_eq!(registry.remove("m.idl").removed, names(&["M::b_00000002"]));
    assert_eq!(registry.remove("m.idl"), Change::default());
    assert_eq!((registry.iter().count(), registry.errors().count()), (0, 0));
}

#[test]
fn of_two_files_the_first_by_name_is_heard_whatever_came_first() {
    let (first, second) = (
        file(&[("a_00000001", "long x;")]),
        file(&[("a_00000001", "float x;")]),
    );
    for order in [["1.idl", "2.idl"], ["2.idl", "1.idl"]] {
        let mut registry = Registry::default();
        for name in order {
            registry.load(name, if name == "1.idl" { &first } else { &second });
        }
        let heard = |registry: &Registry| {
            registry
                .get("M::a_00000001")
                .unwrap()
                .sal()
                .unwrap()
                .1
                .json
                .contains(r#""x","type":"long""#)
        };
        assert!(heard(&registry));
        let conflicts: Vec<_> = registry.conflicts().collect();
        assert_eq!(
            conflicts,
            [(&TypeName::new("M::a_00000001"), "1.idl", "2.idl")]
        );
        let change = registry.remove("1.idl");
        assert_eq!(change.changed, names(&["M::a_00000001"]));
        assert!(!heard(&registry));
        assert_eq!(registry.conflicts().count(), 0);
    }
    let mut registry = Registry::default();
    registry.load("1.idl", &first);
    registry.load("2.idl", &first);
    assert_eq!(registry.conflicts().count(), 0);
}
