//! Random types of any kind, datums of them by `apache-avro`, and what a reader must find in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::types::Value as Oracle;
use apache_avro::writer::datum::GenericDatumWriter;
use efd_shared_avro::{Decoder, FieldType, NestedType, Node, NodeId, RecordSchema, Value};
use efd_shared_types::avro::AvroSchema;
use efd_shared_types::{GeneralTopic, TypeName, Types, idl};

use super::choices::Choices;
use super::types;

/// What random types have seldom or never: types within themselves, and records without fields.
pub const BY_HAND: &str = "
    struct None { }; struct Nones { None a; None b; };
    enum Color { RED, GREEN, BLUE };
    struct Point { double x; double y; Color color; };
    @mutable struct Tree { long v; sequence<Tree> list; @optional Tree next; map<long, Tree> map; Color color; };
    struct Chain { octet v; @optional Chain next; };
    union U switch (Color) { case RED: Tree tree; case GREEN: Point point; default: string text; };
    struct Pose { Point position; Nones nones; @optional double speed; @optional Color color; };
    @mutable struct S { Pose pose; Tree tree; Chain chain; @optional Point last; sequence<Point> points; sequence<None> none;
        sequence<Nones> nones; Color colors[2][3]; map<string, Point> named; map<long, sequence<Color>> listed; U u;
        sequence<U> us; long double quad; sequence<long double> quads; @optional S s; sequence<S> all; long a; long A;
        map<string, Nones> empty; sequence<double> doubles; sequence<string> texts; octet raw[4]; };";

pub struct Topic {
    pub json: String,
    pub decoder: Decoder,
    schema: Schema,
    names: BTreeMap<String, Schema>,
}

impl Topic {
    pub fn random(choices: &mut Choices<'_>) -> Self {
        let (ty, types) = types::random(choices);
        Self::new(&types, &ty.name)
    }

    pub fn by_hand(name: &str) -> Self {
        let parsed = idl::parse(BY_HAND);
        assert_eq!(parsed.errors, []);
        Self::new(&parsed.types(), name)
    }

    fn new(types: &Types, name: &str) -> Self {
        let topic = GeneralTopic::of(types, &TypeName::new(name), "rt/test/topic").unwrap();
        let json = AvroSchema::of_general(&topic).json;
        let parsed = RecordSchema::parse(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
        let schema = Schema::parse_str(&json).unwrap();
        let mut names = BTreeMap::new();
        collect(&schema, &mut names);
        Self {
            json,
            decoder: Decoder::new(Arc::new(parsed)),
            schema,
            names,
        }
    }

    /// A datum, and the values of its fields.
    pub fn datum(&self, choices: &mut Choices<'_>) -> (Vec<u8>, Vec<Value>) {
        let oracle = self.value(&self.schema, choices, 0);
        let writer = GenericDatumWriter::builder(&self.schema).build().unwrap();
        let datum = writer.write_value_to_vec(oracle.clone()).unwrap();
        let fields = self.decoder.schema().fields.iter();
        let values = fields.map(|field| {
            let value = field.name.split('.').fold(&oracle, |value, part| {
                let Oracle::Record(fields) = value else {
                    panic!("{} is not in {value:?}", field.name);
                };
                &fields.iter().find(|(name, _)| name == part).unwrap().1
            });
            match &field.field_type {
                FieldType::Nested(of) => expected(value, Some((of, of.root()))),
                FieldType::Scalar(_) | FieldType::Array(_) | FieldType::Enum(_) => {
                    expected(value, None)
                }
            }
        });
        let values = values.collect();
        (datum, values)
    }

    fn value(&self, schema: &Schema, choices: &mut Choices<'_>, depth: usize) -> Oracle {
        let count = |choices: &mut Choices<'_>| match depth {
            0..3 => choices.below(5),
            3..6 => choices.below(2),
            _ => 0,
        };
        match schema {
            Schema::Boolean => Oracle::Boolean(choices.chance(128)),
            Schema::Long => Oracle::Long(long(choices)),
            Schema::TimestampNanos => Oracle::TimestampNanos(long(choices)),
            Schema::Double => Oracle::Double(match choices.below(4) {
                0 => 1.5,
                1 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0][choices.below(4)],
                _ => f64::from_le_bytes(choices.word()),
            }),
            Schema::String => Oracle::String(text(choices)),
            Schema::Bytes => Oracle::Bytes((0..choices.below(5)).map(|_| choices.byte()).collect()),
            Schema::Fixed(_) => Oracle::Fixed(16, choices.word::<16>().to_vec()),
            Schema::Enum(it) => {
                let at = choices.below(it.symbols.len());
                Oracle::Enum(at as u32, it.symbols[at].clone())
            }
            Schema::Union(it) => match depth < 8 && choices.chance(150) {
                true => {
                    let value = self.value(&it.variants()[1], choices, depth + 1);
                    Oracle::Union(1, Box::new(value))
                }
                false => Oracle::Union(0, Box::new(Oracle::Null)),
            },
            Schema::Array(it) => {
                let items = 0..count(choices);
                Oracle::Array(
                    items
                        .map(|_| self.value(&it.items, choices, depth + 1))
                        .collect(),
                )
            }
            Schema::Map(it) => {
                let entries = 0..count(choices);
                let entry = |at| {
                    let key = format!("{at}{}", text(choices));
                    (key, self.value(&it.types, choices, depth + 1))
                };
                Oracle::Map(entries.map(entry).collect())
            }
            Schema::Record(it) => {
                let fields = it.fields.iter();
                let value = fields.map(|field| {
                    (
                        field.name.clone(),
                        self.value(&field.schema, choices, depth),
                    )
                });
                Oracle::Record(value.collect())
            }
            Schema::Ref { name } => self.value(&self.names[&name.to_string()], choices, depth),
            other => panic!("{other:?}"),
        }
    }
}

fn long(choices: &mut Choices<'_>) -> i64 {
    match choices.below(3) {
        0 => i64::from(choices.byte()),
        1 => [i64::MIN, i64::MAX, -1, 64][choices.below(4)],
        _ => i64::from_le_bytes(choices.word()),
    }
}

fn text(choices: &mut Choices<'_>) -> String {
    ["", "a", "naïve 🔭", "\",\n\0", "longer text than others"][choices.below(5)].to_owned()
}

fn collect(schema: &Schema, names: &mut BTreeMap<String, Schema>) {
    match schema {
        Schema::Array(it) => collect(&it.items, names),
        Schema::Map(it) => collect(&it.types, names),
        Schema::Union(it) => it.variants().iter().for_each(|it| collect(it, names)),
        Schema::Record(it) => {
            names.insert(it.name.to_string(), schema.clone());
            it.fields.iter().for_each(|it| collect(&it.schema, names));
        }
        Schema::Enum(it) => drop(names.insert(it.name.to_string(), schema.clone())),
        Schema::Fixed(it) => drop(names.insert(it.name.to_string(), schema.clone())),
        _ => {}
    }
}

/// Records that have no bytes are seen without fields.
fn expected(value: &Oracle, of: Option<(&NestedType, NodeId)>) -> Value {
    let inner = |it: fn(&Node) -> NodeId| of.map(|(of, id)| (of, it(of.node(id))));
    match value {
        Oracle::Boolean(value) => Value::Boolean(*value),
        Oracle::Long(value) | Oracle::TimestampNanos(value) => Value::Long(*value),
        Oracle::Double(value) => Value::Double(*value),
        Oracle::String(text) => Value::String(text.clone()),
        Oracle::Bytes(bytes) => Value::Bytes(bytes.clone()),
        Oracle::Fixed(_, bytes) => Value::Fixed(bytes.clone()),
        Oracle::Enum(at, symbol) => Value::Enum {
            position: *at as usize,
            symbol: symbol.clone(),
        },
        Oracle::Union(0, _) => Value::Optional(None),
        Oracle::Union(_, value) => {
            let inner = inner(|node| match node {
                Node::Nullable(inner) => *inner,
                _ => panic!("{node:?}"),
            });
            Value::Optional(Some(Box::new(expected(value, inner))))
        }
        Oracle::Array(items) => {
            let inner = inner(|node| match node {
                Node::Array(inner) => *inner,
                _ => panic!("{node:?}"),
            });
            Value::Array(items.iter().map(|item| expected(item, inner)).collect())
        }
        Oracle::Map(entries) => {
            let inner = inner(|node| match node {
                Node::Map(inner) => *inner,
                _ => panic!("{node:?}"),
            });
            let entries: BTreeMap<_, _> = entries.clone().into_iter().collect();
            let entries = entries.iter();
            let entries = entries.map(|(key, value)| (key.clone(), expected(value, inner)));
            Value::Map(entries.collect())
        }
        Oracle::Record(fields) => {
            let (of, id) = of.unwrap();
            let Node::Record(record) = of.node(id) else {
                panic!("{of}");
            };
            if of.is_empty(id) {
                return Value::Record(Vec::new());
            }
            let fields = record.fields.iter().zip(fields);
            let fields = fields.map(|(field, (name, value))| {
                assert_eq!(field.name, *name);
                (name.clone(), expected(value, Some((of, field.node))))
            });
            Value::Record(fields.collect())
        }
        other => panic!("{other:?}"),
    }
}

/// Doubles as their bits, entries of maps by their keys: what can be compared.
pub fn plain(value: &Value) -> String {
    let all = |items: Vec<String>| items.join(", ");
    let named = |items: &[(String, Value)]| {
        let items = items.iter();
        items
            .map(|(name, it)| format!("{name:?}: {}", plain(it)))
            .collect::<Vec<_>>()
    };
    match value {
        Value::Double(value) => format!("{:016x}", value.to_bits()),
        Value::Array(items) => format!("[{}]", all(items.iter().map(plain).collect())),
        Value::Record(fields) => format!("{{{}}}", all(named(fields))),
        Value::Map(entries) => {
            let mut entries = named(entries);
            entries.sort();
            format!("map {{{}}}", all(entries))
        }
        Value::Optional(None) => "null".to_owned(),
        Value::Optional(Some(value)) => format!("some {}", plain(value)),
        Value::Boolean(_) | Value::Long(_) | Value::String(_) => format!("{value:?}"),
        Value::Bytes(_) | Value::Fixed(_) | Value::Enum { .. } => format!("{value:?}"),
    }
}

pub fn all_plain(values: &[Value]) -> Vec<String> {
    values.iter().map(plain).collect()
}
