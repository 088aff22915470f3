use super::*;
use crate::avro::AvroSchema;
use crate::idl;

fn topic(text: &str, root: &str, dds_topic: &str) -> Result<GeneralTopic, NoGeneralMapping> {
    let parsed = idl::parse(text);
    assert_eq!(parsed.errors, [], "{text}");
    GeneralTopic::of(&parsed.types(), &TypeName::new(root), dds_topic)
}

fn schema(text: &str) -> String {
    AvroSchema::of_general(&topic(text, "S", "t").unwrap()).json
}

/// The record's fields behind our two.
fn fields(text: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(&schema(text)).unwrap();
    let fields = json["fields"].as_array().unwrap();
    let fields = fields[2..].iter().map(ToString::to_string);
    fields.collect::<Vec<_>>().join("\n")
}

fn refused(text: &str) -> String {
    topic(text, "S", "t").unwrap_err().to_string()
}

#[test]
fn topics_are_named_by_their_parts() {
    let name = |dds_topic: &str| names::of_topic(dds_topic);
    for (dds_topic, expected) in [
        ("rt/a/b", "ros.a.b"),
        ("rq/a/bRequest", "ros.a.b.request"),
        ("rr/a/bReply", "ros.a.b.reply"),
        ("rq/a/b", "dds.rq.a.b"),
        ("rq/Request", "dds.rq.Request"),
        ("rt/", "dds.rt_"),
        ("rt/a/b/request", "ros.a.b.request_"),
        ("rt/request", "ros.request"),
        ("A/b-c::D", "dds.A.b_c.D_a118a80a"),
        ("/x//y.z/", "dds.x.y.z_"),
        ("a:b", "dds.a_b_"),
        ("3d/ü", "dds._3d.__"),
        ("Square", "dds.Square"),
        ("A_3/b", "dds.A_3.b"),
        ("A/b_c/D_a118a80a", "dds.A.b_c.D_a118a80a_"),
        ("A_A118A80A", "dds.A_A118A80A"),
    ] {
        let name = name(dds_topic).unwrap();
        let bare = match expected.ends_with('_') {
            true => &name[..name.len() - 8],
            false => &name[..],
        };
        assert_eq!(bare, expected, "{dds_topic}");
    }
    assert_eq!(name(""), None);
    assert_eq!(name("/::./"), None);
    let long = |last: char| name(&format!("rt/{}{last}", "x".repeat(252))).unwrap();
    assert_eq!(long('y').len(), 200);
    assert_ne!(long('y'), long('z'));
}

proptest::proptest! {
    /// Of few letters, so that names come close to each other.
    #[test]
    fn no_two_topics_have_one_name(topics in proptest::collection::btree_set("(r[tqr]/)?[a1_./:-]{1,4}(/request|/reply|Request|Reply)?", 2..200)) {
        let mut seen = std::collections::BTreeMap::new();
        for topic in topics {
            let Some(name) = names::of_topic(&topic) else { continue };
            let other = seen.insert(name.clone(), topic.clone());
            proptest::prop_assert_eq!(other, None, "{} and {}", name, topic);
        }
    }
}

#[test]
fn ros_names_lead_to_idl_files() {
    assert_eq!(
        without_ros("std_msgs::msg::dds_::String_").as_deref(),
        Some("std_msgs::msg::String")
    );
    for other in [
        "std_msgs::msg::String",
        "a::msg::dds_::B",
        "a::msg::dds_::_",
        "x::a::msg::dds_::B_",
        "B_",
    ] {
        assert_eq!(without_ros(other), None, "{other}");
    }
}

#[test]
fn types_are_named_by_their_scope() {
    for (dds_type, expected) in [
        ("std_msgs::msg::dds_::String_", "std_msgs.msg.String"),
        ("a::srv::dds_::B_Request_", "a.srv.B_Request"),
        ("a::msg::dds_::B", "a.msg.dds_.B"),
        ("a::idl::dds_::B_", "a.idl.dds_.B_"),
        ("x::a::msg::dds_::B_", "x.a.msg.dds_.B_"),
        ("A::B", "A.B"),
        ("B", "idl.B"),
        ("A::3 x", "A._3_x"),
    ] {
        assert_eq!(names::of_type(&TypeName::new(dds_type)), expected);
    }
}

#[test]
fn a_schema_is_this_text() {
    let text = "module m { enum E { @value(2) A, @default_literal @value(0) B };
        struct P { double x; // @Metadata=(Units=\"m\",Description=\"east\")
        }; };
        struct S { m::P p; m::E e; @optional string note; };";
    assert_eq!(
        schema(text),
        r#"{"name":"dds.t","type":"record","fields":[{"name":"efd_sourceTime","type":["null",{"type":"long","logicalType":"timestamp-nanos"}],"default":null,"description":"UTC time at which the writer says that it wrote."},{"name":"efd_receivedTime","type":{"type":"long","logicalType":"timestamp-nanos"},"default":0,"description":"UTC time of reception."},{"name":"p","type":{"name":"m.P","type":"record","fields":[{"name":"x","type":"double","default":0.0,"description":"east","units":"m"}]},"default":{"x":0.0}},{"name":"e","type":{"name":"m.E","type":"enum","symbols":["A","B"]},"default":"B"},{"name":"note","type":["null","string"],"default":null}]}"#
    );
}

#[test]
fn every_kind_has_a_type_and_a_default() {
    let text = "typedef octet Raw[4]; typedef float Row[3]; bitmask B { F0, @position(5) F5 };
        union U switch (long) { case 1: case 2: long a; default: string b; };
        struct S { octet o; char c; wchar w; long double q; sequence<octet> bytes; Raw raw;
        octet table[2][2]; sequence<Raw> raws; Row rows[2]; B b; U u; map<string, long> m;
        map<long, map<short, U>> n; };";
    let expected = r#"
{"name":"o","type":"long","default":0}
{"name":"c","type":"string","default":"\u0000"}
{"name":"w","type":"string","default":"\u0000"}
{"name":"q","type":{"name":"efd.Float128","type":"fixed","size":16},"default":"\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000"}
{"name":"bytes","type":"bytes","default":""}
{"name":"raw","type":"bytes","default":""}
{"name":"table","type":{"type":"array","items":{"type":"array","items":"long"}},"default":[]}
{"name":"raws","type":{"type":"array","items":"bytes"},"default":[]}
{"name":"rows","type":{"type":"array","items":{"type":"array","items":"double"}},"default":[]}
{"name":"b","type":{"type":"long","flags":[{"name":"F0","position":0},{"name":"F5","position":5}]},"default":0}
{"name":"u","type":{"name":"idl.U","type":"record","fields":[{"name":"discriminator","type":"long","default":0},{"name":"a","type":["null","long"],"default":null},{"name":"b","type":["null","string"],"default":null}]},"default":{"discriminator":0,"a":null,"b":null}}
{"name":"m","type":{"type":"map","values":"long"},"default":{}}
{"name":"n","type":{"type":"array","items":{"name":"dds.t_n_entry","type":"record","fields":[{"name":"key","type":"long","default":0},{"name":"value","type":{"type":"array","items":{"name":"dds.t_n_entry_entry","type":"record","fields":[{"name":"key","type":"long","default":0},{"name":"value","type":"idl.U","default":{"discriminator":0,"a":null,"b":null}}]}},"default":[]}]}},"default":[]}"#;
    assert_eq!(fields(text), expected.trim());
}

#[test]
fn bases_come_first_and_recursion_names_the_record() {
    let text = "struct B { long a; }; struct S : B { sequence<S> children; @optional S next; };";
    let expected = r#"
{"name":"a","type":"long","default":0}
{"name":"children","type":{"type":"array","items":"dds.t"},"default":[]}
{"name":"next","type":["null","dds.t"],"default":null}"#;
    assert_eq!(fields(text), expected.trim());
}

#[test]
fn keys_are_paths() {
    let text = "struct In { @key long a; long b; }; struct Whole { long a; long b; };
        struct S { long x; @key In one; @key Whole two; @key string three; };";
    let found = topic(text, "S", "t").unwrap().keys;
    let key = |member, inside| KeyMember { member, inside };
    let one = key(1, Some(vec![key(0, None)]));
    assert_eq!(found, [one, key(2, None), key(3, None)]);

    let text = "struct In { long a; long b; }; struct S { long x; In one; };
        #pragma keylist S x one.b\n";
    let found = topic(text, "S", "t").unwrap().keys;
    assert_eq!(found, [key(0, None), key(1, Some(vec![key(1, None)]))]);
}

#[test]
fn refusals_name_what_is_in_the_way() {
    for (text, expected) in [
        (
            "struct S { long efd_sourceTime; };",
            "`S` has a member `efd_sourceTime`, a field that is added to every topic",
        ),
        (
            "union U switch (long) { case 1: long discriminator; }; struct S { U u; };",
            "`discriminator` and `discriminator` of `U` would both be `discriminator`",
        ),
        (
            "module idl { struct P { long a; }; }; struct P { long b; };
             struct S { P p; idl::P q; };",
            "types `P` and `idl::P` would both be `idl.P`",
        ),
        (
            "struct P { long b; }; struct S { map<P, long> m; };",
            "member `m` of `S` is a map with keys of structs",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
    assert!(matches!(
        topic("struct S { long a; };", "T", "t"),
        Err(NoGeneralMapping::NoStruct(_))
    ));
    assert!(matches!(
        topic("struct S { long a; };", "S", "//"),
        Err(NoGeneralMapping::NoName(_))
    ));
}

fn structure(name: &str, members: Vec<(&str, crate::Type)>) -> crate::Definition {
    let members = members.into_iter().enumerate();
    crate::Definition::Struct(crate::Struct {
        name: TypeName::new(name),
        base: None,
        extensibility: Extensibility::Final,
        members: members
            .map(|(id, (name, ty))| crate::model::Member {
                id: id as u32,
                name: name.to_owned(),
                ty,
                optional: false,
                metadata: Metadata::default(),
            })
            .collect(),
        keys: Vec::new(),
        metadata: Metadata::default(),
    })
}

/// What IDL cannot say, a TypeObject can.
#[test]
fn hostile_models_are_refused() {
    let named = |name: &str| crate::Type::Named(TypeName::new(name));
    let check = |definitions: Vec<crate::Definition>| {
        let types: Types = definitions.into_iter().collect();
        GeneralTopic::of(&types, &TypeName::new("S"), "t").unwrap_err()
    };
    let array = |element| crate::Type::Array {
        element: Box::new(element),
        dimensions: vec![2],
    };
    assert!(matches!(
        check(vec![structure("S", vec![("s", named("S"))])]),
        NoGeneralMapping::Endless { .. }
    ));
    let through = vec![
        structure("S", vec![("a", array(named("T")))]),
        structure("T", vec![("s", named("S"))]),
    ];
    assert!(matches!(check(through), NoGeneralMapping::Endless { .. }));
    assert!(matches!(
        check(vec![structure(
            "S",
            vec![("a.b", named("A")), ("a-b", named("B"))]
        )]),
        NoGeneralMapping::UnknownType { .. }
    ));
    let long = crate::Type::Primitive(Primitive::I32);
    assert!(matches!(
        check(vec![structure(
            "S",
            vec![("a.b", long.clone()), ("a-b", long.clone())]
        )]),
        NoGeneralMapping::SameField { .. }
    ));

    // Each holds the next twice: defaults double.
    let doubling = (0..30).map(|at| {
        let next = named(&format!("T{}", at + 1));
        structure(&format!("T{at}"), vec![("a", next.clone()), ("b", next)])
    });
    let mut doubling: Vec<_> = doubling.collect();
    doubling.push(structure("T30", vec![("a", long.clone())]));
    doubling.push(structure("S", vec![("a", named("T0"))]));
    assert!(matches!(
        check(doubling),
        NoGeneralMapping::TooManyDefaults { .. }
    ));

    // A chain that is too deep, entered from its end so that no step is.
    let mut chain: Vec<_> = (0..500)
        .map(|at| {
            structure(
                &format!("T{at}"),
                vec![("a", named(&format!("T{}", at + 1)))],
            )
        })
        .collect();
    chain.push(structure("T500", vec![("a", long.clone())]));
    let names: Vec<String> = (0..=500).rev().map(|at| format!("T{at}")).collect();
    let members = names.iter().map(|name| (name.as_str(), named(name)));
    chain.push(structure("S", members.collect()));
    assert!(matches!(check(chain), NoGeneralMapping::TooMany { .. }));

    let wide = (0..=FIELDS_MAX)
        .map(|at| format!("m{at}"))
        .collect::<Vec<_>>();
    let wide = wide.iter().map(|name| (name.as_str(), long.clone()));
    let error = check(vec![structure("S", wide.collect())]);
    assert!(error.to_string().contains("8193 fields"), "{error}");
}
