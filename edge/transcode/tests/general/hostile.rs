//! Hand-made payloads: what is refused, how it is named, and what is let pass.

use apache_avro::types::Value;
use efd_edge_transcode::general::EXPANSION;
use efd_edge_transcode::{Cause, GeneralOutcome, Undecodable};
use efd_shared_types::general::DEPTH_MAX;
use efd_shared_types::idl;

use crate::{Topic, topic};

fn of(text: &str) -> Topic {
    let parsed = idl::parse(text);
    assert_eq!(parsed.errors, [], "{text}");
    topic(&parsed.types(), "S")
}

type Fields = Vec<(String, Value)>;

fn read(topic: &Topic, payload: &[u8]) -> Result<(GeneralOutcome, Fields), Undecodable> {
    let mut out = b"before".to_vec();
    let result = topic.transcode(payload, &mut out);
    if result.is_err() {
        assert_eq!(out, b"before");
    }
    Ok((result?, topic.read(&out[6..])))
}

/// `header` and little-endian words.
fn words(header: u8, words: &[u32]) -> Vec<u8> {
    let words = words.iter().flat_map(|word| word.to_le_bytes());
    [0, header, 0, 0].into_iter().chain(words).collect()
}

fn refused(text: &str, payload: &[u8]) -> (Cause, usize, String) {
    let error = read(&of(text), payload).unwrap_err();
    let Undecodable {
        offset,
        field,
        cause,
    } = error;
    (
        cause,
        offset,
        field.map(|it| it.to_string()).unwrap_or_default(),
    )
}

#[test]
fn an_error_names_the_byte_and_the_way_to_it() {
    let text = "struct P { double x; boolean on[3]; }; struct Q { sequence<P> list; };
        struct S { Q q; };";
    let p = |flags: u32| [0, 0, flags, 0];
    let payload = words(1, &[&[2, 0][..], &p(0x01), &p(0x0700)].concat());
    assert_eq!(
        refused(text, &payload),
        (Cause::Boolean(7), 37, "q.list[1].on[1]".to_owned())
    );
    let error = read(&of(text), &payload).unwrap_err();
    assert_eq!(
        error.to_string(),
        "boolean with the value 7 at byte 37, in field `q.list[1].on[1]`"
    );
    let cause = Cause::Truncated { need: 11, left: 0 };
    assert_eq!(
        refused(text, &words(1, &[1])),
        (cause, 8, "q.list".to_owned())
    );

    let map = "struct S { map<long, boolean> m; };";
    assert_eq!(
        refused(map, &words(1, &[2, 5, 1, 6, 2])),
        (Cause::Boolean(2), 20, "m[1]".to_owned())
    );
    let union = "union U switch (boolean) { case TRUE: boolean yes; }; struct S { U u; };";
    assert_eq!(
        refused(union, &words(1, &[0x0201])),
        (Cause::Boolean(2), 5, "u.yes".to_owned())
    );
    assert_eq!(
        refused(union, &words(1, &[0x02])),
        (Cause::Boolean(2), 4, "u.discriminator".to_owned())
    );
}

#[test]
fn values_without_a_datum_are_named() {
    let of_enum = "enum E { @value(3) A, @value(4) B }; struct S { sequence<E> e; };";
    assert_eq!(
        refused(of_enum, &words(1, &[2, 4, 5])),
        (Cause::Literal(5), 12, "e[1]".to_owned())
    );
    assert_eq!(
        refused(of_enum, &words(1, &[1, u32::MAX])),
        (Cause::Literal(-1), 8, "e[0]".to_owned())
    );
    assert_eq!(
        refused("struct S { wstring w; };", &words(1, &[4, 0xd834_0041])),
        (Cause::Surrogate(0xd834), 10, "w".to_owned())
    );
    assert_eq!(
        refused("struct S { wstring w; };", &words(1, &[3, 0x41])),
        (Cause::OddLength(3), 8, "w".to_owned())
    );
    assert_eq!(
        refused("struct S { wchar w[2]; };", &words(1, &[0xdd1e_0041])),
        (Cause::Surrogate(0xdd1e), 6, "w[1]".to_owned())
    );
    assert_eq!(
        refused(
            "struct S { unsigned long long a, b; };",
            &words(1, &[1, 0, 0, 1 << 31])
        ),
        (Cause::Unsigned(1 << 63), 12, "b".to_owned())
    );
}

#[test]
fn members_that_must_be_understood_are() {
    let text = "@mutable struct S { @id(2) long a; };";
    let known = [0x2000_0002, 7];
    let list = |more: &[u32]| {
        let length = 4 * (known.len() + more.len()) as u32;
        words(11, &[&[length][..], more, &known].concat())
    };
    let (outcome, fields) = read(&of(text), &list(&[0x2000_0005, 1])).unwrap();
    assert_eq!(outcome.defaulted_members, 0);
    assert_eq!(fields, [("a".to_owned(), Value::Long(7))]);
    assert_eq!(
        refused(text, &list(&[0xa000_0005, 1])),
        (Cause::NotUnderstood(5), 12, String::new())
    );
    assert_eq!(
        refused(text, &list(&known)),
        (Cause::UnexpectedMember(2), 20, String::new())
    );

    // XCDR1: short and extended.
    let end = 0x0000_3f02;
    let short = |flags: u32| words(3, &[flags | 5 | 4 << 16, 1, end]);
    let (outcome, fields) = read(&of(text), &short(0)).unwrap();
    assert_eq!(outcome.defaulted_members, 1);
    assert_eq!(fields, [("a".to_owned(), Value::Long(0))]);
    assert_eq!(refused(text, &short(0x4000)).0, Cause::NotUnderstood(5));
    let extended = |flags: u32| words(3, &[0x0008_7f01, flags | 5, 4, 1, end]);
    assert!(read(&of(text), &extended(0)).is_ok());
    assert_eq!(refused(text, &extended(1 << 30)).0, Cause::NotUnderstood(5));
    assert_eq!(
        refused(text, &words(3, &[2 | 4 << 16, 1])).0,
        Cause::Truncated { need: 2, left: 0 }
    );
}

#[test]
fn writers_of_other_versions_are_read() {
    let text = "@appendable struct In { long a; @optional long b; string c; };
        @appendable struct S { In one; long x; long y[2]; };";
    let topic = of(text);
    let older = words(9, &[12, 4, 7, 9]);
    let (outcome, fields) = read(&topic, &older).unwrap();
    assert_eq!(outcome.defaulted_members, 2);
    let Value::Record(one) = &fields[0].1 else {
        panic!("{fields:?}");
    };
    let none = Value::Union(0, Box::new(Value::Null));
    assert_eq!(one[0].1, Value::Long(7));
    assert_eq!(one[1].1, none);
    assert_eq!(one[2].1, Value::String(String::new()));
    assert_eq!(fields[1].1, Value::Long(9));
    assert_eq!(fields[2].1, Value::Array(Vec::new()));

    // Both structs have four bytes more.
    let newer = words(9, &[36, 16, 7, 0, 0, 0xdddd, 9, 1, 2, 0xdddd]);
    let (outcome, fields) = read(&topic, &newer).unwrap();
    assert_eq!(outcome.defaulted_members, 0);
    let both = vec![Value::Long(1), Value::Long(2)];
    assert_eq!(fields[1].1, Value::Long(9));
    assert_eq!(fields[2].1, Value::Array(both));
}

#[test]
fn recursion_ends() {
    let text = "struct S { long v; sequence<S> list; };";
    let nested = |levels: usize| {
        let mut all = Vec::new();
        (0..levels).for_each(|level| all.extend([level as u32, 1]));
        all.extend([0, 0]);
        words(1, &all)
    };
    // A sequence and a struct each, and the last sequence.
    assert!(read(&of(text), &nested(DEPTH_MAX / 2 - 1)).is_ok());
    let (cause, ..) = refused(text, &nested(DEPTH_MAX / 2));
    assert_eq!(cause, Cause::Depth(DEPTH_MAX));
    let (cause, ..) = refused(text, &nested(100_000));
    assert_eq!(cause, Cause::Depth(DEPTH_MAX));
}

#[test]
fn a_record_within_itself_has_no_times_there() {
    let text = "@appendable struct S { long v; map<long, S> m; @optional S next; };";
    let topic = of(text);
    // The struct in the map ends before its `next`.
    let payload = words(9, &[33, 1, 24, 1, 5, 12, 2, 4, 0, 0]);
    let (outcome, fields) = read(&topic, &payload).unwrap();
    assert_eq!(outcome.defaulted_members, 0);
    let Value::Array(entries) = &fields[1].1 else {
        panic!("{fields:?}");
    };
    let shown = format!("{entries:?}");
    // Here the default of a struct would be one of itself.
    of("struct W; struct S { long v; map<long, W> m; }; struct W { S s; };");
    let inside = "(\"efd_sourceTime\", Union(0, Null)), (\"efd_receivedTime\", TimestampNanos(0)), (\"v\", Long(2))";
    assert!(shown.contains(inside), "{shown}");
}

#[test]
fn what_has_no_bytes_is_limited() {
    let text = "struct E { }; struct S { sequence<E> e; sequence<E> f; };";
    let types = idl::parse(text);
    if !types.errors.is_empty() {
        // IDL of this version has no empty structs; a TypeObject may.
        return;
    }
    let (_, fields) = read(&of(text), &words(1, &[100, 3])).unwrap();
    assert!(matches!(&fields[0].1, Value::Array(it) if it.len() == 100));
    for counts in [[u32::MAX, 0], [4000, 97], [0, 1_000_000]] {
        let (cause, ..) = refused(text, &words(1, &counts));
        assert_eq!(cause, Cause::Empty(4096));
    }
}

#[test]
fn a_small_payload_makes_no_large_datum() {
    let members: String = (0..500).map(|at| format!("double m{at}; ")).collect();
    let text = format!("@appendable struct In {{ {members} }}; struct S {{ sequence<In> list; }};");
    let topic = of(&text);
    let lengths = vec![0_u32; 10_000];
    let of_nothing = |count: usize| {
        let length = 4 * (count as u32 + 1);
        words(
            7,
            &[&[length, count as u32][..], &lengths[..count]].concat(),
        )
    };
    let (outcome, fields) = read(&topic, &of_nothing(1)).unwrap();
    assert_eq!(outcome.defaulted_members, 500);
    assert!(matches!(&fields[0].1, Value::Array(it) if it.len() == 1));
    let payload = of_nothing(10_000);
    let mut out = Vec::new();
    let error = topic.transcode(&payload, &mut out).unwrap_err();
    assert!(matches!(error.cause, Cause::Expansion(_)), "{error}");
    assert!(out.capacity() <= 4 * EXPANSION * payload.len());

    for text in [
        "struct S { sequence<double> d; };",
        "struct S { sequence<string> d; };",
    ] {
        let topic = of(text);
        let mut out = Vec::new();
        let error = topic
            .transcode(&words(1, &[u32::MAX, 0]), &mut out)
            .unwrap_err();
        assert!(matches!(error.cause, Cause::Truncated { .. }), "{error}");
        assert!(out.capacity() < 1000);
    }
}

#[test]
fn optional_members_of_xcdr1_have_either_header() {
    let text = "struct S { octet o; @optional double d; octet p; };";
    let topic = of(text);
    let short: Vec<u32> = vec![0xaa, 1 | 8 << 16, 0, 0x3ff0_0000, 0xbb];
    let extended = vec![0xaa, 0x0008_7f01, 1, 8, 0, 0x3ff0_0000, 0xbb];
    let one = Value::Union(1, Box::new(Value::Double(1.0)));
    let none = Value::Union(0, Box::new(Value::Null));
    for (payload, expected) in [
        (words(1, &short), &one),
        (words(1, &extended), &one),
        (words(1, &[0xaa, 1, 0xbb]), &none),
        (words(1, &[0xaa, 0x0008_7f01, 1, 0, 0xbb]), &none),
    ] {
        let (_, fields) = read(&topic, &payload).unwrap();
        assert_eq!(fields[1].1, *expected);
        assert_eq!(fields[2].1, Value::Long(0xbb));
    }
    assert_eq!(
        refused(text, &words(1, &[0xaa, 9 | 8 << 16, 0, 0, 0xbb])),
        (Cause::UnexpectedMember(9), 12, "d".to_owned())
    );
}

#[test]
fn structs_of_numbers_of_one_kind_are_read_together() {
    let text = "struct V { double x, y; }; struct P { V a; V b; double w; };
        struct S { float f; P p; sequence<P> list; double end; };";
    let double = |value: f64| {
        let bits = value.to_bits();
        [bits as u32, (bits >> 32) as u32]
    };
    let doubles = |values: std::ops::Range<i32>| {
        let doubles = values.map(|it| double(f64::from(it)));
        doubles.flatten().collect::<Vec<_>>()
    };
    let all = [&[0, 0][..], &doubles(1..6), &[2, 0], &doubles(6..17)].concat();
    let (_, fields) = read(&of(text), &words(1, &all)).unwrap();
    let shown = format!("{:?}", &fields[1..]);
    let numbers = shown.split("Double(").skip(1);
    let numbers = numbers.map(|it| it.split(')').next().unwrap().parse::<f64>().unwrap());
    assert!(numbers.eq((1..17).map(f64::from)), "{shown}");

    let cause = Cause::Truncated { need: 8, left: 4 };
    assert_eq!(
        refused(text, &words(1, &all[..9])),
        (cause, 36, "p.b.y".to_owned())
    );
    assert_eq!(
        refused(text, &words(1, &all[..33])),
        (cause, 132, "list[1].w".to_owned())
    );
}

#[test]
fn the_two_times_are_in_front() {
    let topic = of("struct S { octet o; };");
    for payload in [&[0, 1, 0, 0, 7][..], &[0, 1, 0, 0, 7, 0]] {
        let mut out = Vec::new();
        topic.transcode(payload, &mut out).unwrap();
        // The stamp of an even payload is -5, of an odd one none.
        let expected: &[u8] = if payload.len() == 5 { &[0] } else { &[2, 9] };
        assert!(out.starts_with(expected));
        topic.read(&out);
    }
}
