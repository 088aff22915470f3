//! CDR of random types of any kind. An input is a type's number, then a payload.

use std::sync::LazyLock;

use efd_edge_transcode::{Cause, GeneralPlan, GeneralStamps, KeyOf, Undecodable};
use efd_shared_types::general::{Node, NodeId};
use efd_shared_types::model::Primitive;
use efd_shared_types::{GeneralTopic, TypeName, idl};
use efd_tests_fuzz::{Rng, Target, told};

#[allow(
    dead_code,
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    reason = "made for the tests of the transcoder, which use all of it"
)]
#[path = "../../../../edge/transcode/tests/general/choices.rs"]
mod choices;
#[allow(
    dead_code,
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    reason = "made for the tests of the transcoder, which use all of it"
)]
#[path = "../../../../edge/transcode/tests/general/types.rs"]
mod types;
#[allow(
    dead_code,
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    reason = "made for the tests of the transcoder, which use all of it"
)]
#[path = "../../../../edge/transcode/tests/general/value.rs"]
mod value;
#[allow(
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    reason = "made for the tests of the transcoder"
)]
#[path = "../../../../edge/transcode/tests/general/writer.rs"]
mod writer;

use choices::Choices;
use types::StructTy;
use writer::Encoding;

const TYPES: usize = 256;
/// The first of them is made of these: a type within itself, and one that grows by defaults.
const BY_HAND: &str = "struct None; @mutable struct Tree { long v; sequence<Tree> list; @optional Tree next;
    map<long, Tree> map; }; @appendable struct Wide { Tree a; double b[3]; string c; sequence<None> d; };
    union U switch (char) { case 'a': Tree t; case 'b': Wide w; default: octet o; };
    struct None { }; struct S { @key octet k; sequence<Wide> wide; sequence<U> us; sequence<None> none; };";

struct Type {
    topic: GeneralTopic,
    plan: GeneralPlan,
    /// Writes samples; `None` of the type by hand.
    ty: Option<std::rc::Rc<StructTy>>,
}

thread_local! {
    static ALL: Vec<Type> = (0..TYPES).map(Type::random).collect();
}
static BYTES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let bytes = |number| {
        let mut rng = Rng::new(number);
        (0..400).map(|_| rng.draw() as u8).collect()
    };
    (0..TYPES as u64).map(bytes).collect()
});

impl Type {
    fn random(number: usize) -> Self {
        let (ty, name, types) = if number == 0 {
            let parsed = idl::parse(BY_HAND);
            assert_eq!(parsed.errors, []);
            (None, "S".to_owned(), parsed.types())
        } else {
            let (ty, types) = types::random(&mut Choices::new(&BYTES[number]));
            let name = ty.name.clone();
            (Some(ty), name, types)
        };
        let topic = GeneralTopic::of(&types, &TypeName::new(&name), "fuzz").unwrap();
        Self {
            plan: GeneralPlan::compile(&topic),
            topic,
            ty,
        }
    }
}

/// Reads a datum by what the schema has been made of. Shares nothing with who wrote it.
struct Datum<'a> {
    topic: &'a GeneralTopic,
    rest: &'a [u8],
}

impl<'a> Datum<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    fn long(&mut self) -> i64 {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
            }
        }
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.long();
        self.take(usize::try_from(length).unwrap())
    }

    fn blocks(&mut self, mut item: impl FnMut(&mut Self)) {
        loop {
            let count = self.long();
            assert!(count >= 0);
            (0..count).for_each(|_| item(self));
            if count == 0 {
                return;
            }
        }
    }

    fn nullable(&mut self, node: NodeId) {
        match self.long() {
            0 => {}
            1 => self.value(node),
            other => panic!("branch {other}"),
        }
    }

    fn array(&mut self, element: NodeId, dimensions: usize) {
        self.blocks(|it| match dimensions {
            1 => it.value(element),
            more => it.array(element, more - 1),
        });
    }

    fn value(&mut self, node: NodeId) {
        match self.topic.node(node) {
            Node::Primitive(primitive) => match primitive {
                Primitive::Boolean => assert!(self.take(1)[0] < 2),
                Primitive::F32 | Primitive::F64 => {
                    self.take(8);
                }
                Primitive::F128 => {
                    self.take(16);
                }
                Primitive::Char8 | Primitive::Char16 => {
                    let text = std::str::from_utf8(self.bytes()).unwrap();
                    assert_eq!(text.chars().count(), 1);
                }
                Primitive::Octet | Primitive::I8 | Primitive::U8 | Primitive::I16 => {
                    self.long();
                }
                Primitive::U16 | Primitive::I32 | Primitive::U32 => {
                    self.long();
                }
                Primitive::I64 => {
                    self.long();
                }
                Primitive::U64 => assert!(self.long() >= 0),
            },
            Node::Text | Node::WideText => {
                std::str::from_utf8(self.bytes()).unwrap();
            }
            Node::Bytes { .. } => {
                self.bytes();
            }
            Node::Array {
                element,
                dimensions,
            } => self.array(*element, dimensions.len()),
            Node::Sequence { element } => self.blocks(|it| it.value(*element)),
            Node::Map { key, value, .. } => self.blocks(|it| {
                it.value(*key);
                it.value(*value);
            }),
            Node::Struct(it) => {
                if node == self.topic.root {
                    if self.long() == 1 {
                        self.long();
                    }
                    self.long();
                }
                for member in &it.members {
                    if member.optional {
                        self.nullable(member.node);
                    } else {
                        self.value(member.node);
                    }
                }
            }
            Node::Union(it) => {
                self.value(it.discriminator);
                it.cases
                    .iter()
                    .for_each(|case| self.nullable(case.member.node));
            }
            Node::Enum(it) => assert!((0..it.literals.len() as i64).contains(&self.long())),
            Node::Bitmask(_) => {
                self.long();
            }
        }
    }
}

/// What was transcoded is a datum of the topic's schema; what was refused leaves no trace.
fn check(input: &[u8]) -> Result<u64, Undecodable> {
    let (number, payload) = input.split_first().map_or((0, input), |(number, payload)| {
        (usize::from(*number), payload)
    });
    let stamps = GeneralStamps {
        source: number.is_multiple_of(2).then_some(7),
        received: i64::MIN,
    };
    ALL.with(|all| {
        let Type { plan, topic, .. } = &all[number % TYPES];
        let mut out = b"before".to_vec();
        let result = plan.transcode(payload, &stamps, &mut out);
        assert_eq!(&out[..6], b"before");
        match &result {
            Ok(_) => {
                let mut datum = Datum {
                    topic,
                    rest: &out[6..],
                };
                datum.value(topic.root);
                assert!(datum.rest.is_empty());
            }
            Err(error) => {
                assert_eq!(out.len(), 6);
                assert!(error.offset <= payload.len() + 16, "{error}");
            }
        }
        drop(out);
        let mut key = Vec::new();
        let of_sample = plan.key_bytes(payload, KeyOf::Sample, &mut key);
        assert!(of_sample.is_ok() || key.is_empty());
        let whole = matches!(&result, Ok(outcome) if outcome.defaulted_members == 0);
        assert!(!whole || of_sample.is_ok(), "a whole sample has a key");
        key.clear();
        let of_key = plan.key_bytes(payload, KeyOf::Key, &mut key);
        assert!(of_key.is_ok() || key.is_empty());
        result.map(|outcome| {
            u64::from(outcome.latin1_texts.min(3))
                | u64::from(outcome.defaulted_members.min(3)) << 8
        })
    })
}

fn seed(rng: &mut Rng) -> Vec<u8> {
    let number = rng.below(TYPES);
    let bytes: Vec<u8> = (0..1500).map(|_| rng.draw() as u8).collect();
    let choices = &mut Choices::new(&bytes);
    let payload = ALL.with(|all| match &all[number].ty {
        Some(ty) => {
            let encoding = *rng.pick(&Encoding::all()).unwrap();
            let slots = value::members(ty, choices);
            writer::write(encoding, ty, &slots, choices, false).0
        }
        // Key, three sequences of nothing.
        None => [&[0, 1, 0, 0, 7, 0, 0, 0][..], &[0; 12]].concat(),
    });
    [&[number as u8][..], &payload].concat()
}

#[test]
fn general_cdr() {
    ALL.with(|all| assert_eq!(all.len(), TYPES));
    crate::run(&Target {
        name: "general-cdr",
        seed,
        // The same refusal in another form or of another type is another way.
        run: |input| {
            let [number, _, form] = *input.first_chunk::<3>().unwrap_or(&[0; 3]);
            let way = check(input).unwrap_or_else(|error| {
                let Undecodable { cause, field, .. } = &error;
                match matches!(cause, Cause::Encapsulation(_)) {
                    true => 0,
                    false => told(&format!("{cause:?} {field:?}")),
                }
            });
            way ^ u64::from(form & 15) << 32 ^ u64::from(number) << 40
        },
        accepts: |input| check(input).is_ok(),
        repair: Some(|input| {
            // Most mutations of the form end there.
            if let Some([high, low]) = input.get_mut(1..3) {
                *high = 0;
                *low = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11][usize::from(*low % 10)];
            }
        }),
        words: &[],
        // A datum is a multiple of its payload and the defaults of its type; a vector may be twice that.
        memory_max: |bytes| (256 << 10) + 200 * bytes as u64,
    });
}
