//! CDR of random SAL types. An input is a type's number, then a payload.

use std::sync::{Arc, LazyLock};

use efd_edge_transcode::{LeapSeconds, Plan, Stamps, Undecodable};
use efd_shared_avro::{Decoder, RecordSchema};
use efd_shared_types::avro::AvroSchema;
use efd_shared_types::model::Metadata;
use efd_shared_types::sal::{PrivateFields, SalField, SalKind, SalTopic, Scalar};
use efd_shared_types::{TypeName, Versions};
use efd_tests_fuzz::{Rng, Target, told};

const TYPES: usize = 256;

struct Type {
    topic: SalTopic,
    plan: Plan,
    decoder: Decoder,
}

static ALL: LazyLock<Vec<Type>> = LazyLock::new(|| {
    (0..TYPES)
        .map(|number| Type::random(number as u64))
        .collect()
});
static LEAPS: LazyLock<LeapSeconds> =
    LazyLock::new(|| LeapSeconds::new(&[(0.0, 10), (1.5e9, 37)]).unwrap());

const SCALARS: [Scalar; 12] = [
    Scalar::Boolean,
    Scalar::I8,
    Scalar::U8,
    Scalar::I16,
    Scalar::U16,
    Scalar::I32,
    Scalar::U32,
    Scalar::I64,
    Scalar::U64,
    Scalar::F32,
    Scalar::F64,
    Scalar::Text,
];

impl Type {
    fn random(number: u64) -> Self {
        let rng = &mut Rng::new(number);
        let mut fields: Vec<(String, Scalar, Option<u32>)> = vec![
            ("private_sndStamp".into(), Scalar::F64, None),
            ("private_rcvStamp".into(), Scalar::F64, None),
            ("private_seqNum".into(), Scalar::I32, None),
        ];
        for index in 0..rng.below(12) {
            let scalar = *rng.pick(&SCALARS).unwrap();
            let count = rng.one_in(3).then(|| 1 + rng.below(9) as u32);
            fields.push((format!("f{index}"), scalar, count));
        }
        let mut optional = |name: &str, scalar, rng: &mut Rng| {
            rng.one_in(2).then(|| {
                let at = rng.below(fields.len() + 1);
                fields.insert(at, (name.to_owned(), scalar, None));
            });
        };
        optional("private_identity", Scalar::Text, rng);
        optional("private_origin", Scalar::I32, rng);
        optional("salIndex", Scalar::I32, rng);
        let place = |name: &str| fields.iter().position(|(field, ..)| field == name);
        let private = PrivateFields {
            snd_stamp: place("private_sndStamp").unwrap(),
            rcv_stamp: place("private_rcvStamp").unwrap(),
            seq_num: place("private_seqNum").unwrap(),
            identity: place("private_identity"),
            origin: place("private_origin"),
            index: place("salIndex"),
            ..PrivateFields::default()
        };
        let keys = place("salIndex").into_iter().collect();
        let fields = fields
            .iter()
            .enumerate()
            .map(|(id, (name, scalar, count))| SalField {
                name: Arc::from(&**name),
                id: id as u32,
                scalar: *scalar,
                count: *count,
                metadata: Metadata::default(),
            });
        let topic = SalTopic {
            component: "Fuzz".into(),
            sal_topic: format!("type{number}"),
            kind: SalKind::Telemetry,
            revision: "00000000".into(),
            dds_type: TypeName::new("Fuzz::type_00000000"),
            dds_topic: "Fuzz_type_00000000".into(),
            fields: fields.collect(),
            keys,
            private,
            description: None,
            versions: Versions::default(),
        };
        let schema = RecordSchema::parse(&AvroSchema::of(&topic).json).unwrap();
        Self {
            plan: Plan::compile(&topic),
            decoder: Decoder::new(Arc::new(schema)),
            topic,
        }
    }
}

/// Writes payloads in every form that the plan reads. Shares nothing with it.
struct Writer {
    body: Vec<u8>,
    big_endian: bool,
    xcdr2: bool,
}

impl Writer {
    fn align(&mut self, to: usize) {
        let to = if self.xcdr2 { to.min(4) } else { to };
        // Garbage, as OpenSplice has it.
        while !self.body.len().is_multiple_of(to) {
            self.body.push(0xcd);
        }
    }

    fn number(&mut self, size: usize, value: u64) {
        self.align(size);
        let bytes = value.to_le_bytes();
        let bytes = bytes[..size].iter().copied();
        if self.big_endian {
            self.body.extend(bytes.rev())
        } else {
            self.body.extend(bytes)
        }
    }

    fn value(&mut self, scalar: Scalar, rng: &mut Rng) {
        match (scalar, scalar.size()) {
            (Scalar::Boolean, _) => self.number(1, rng.draw() & 1),
            (Scalar::U64, _) => self.number(8, rng.draw() >> 1),
            (Scalar::Text, _) | (_, None) => {
                let text = rng.word(12);
                self.number(4, text.len() as u64 + 1);
                self.body.extend_from_slice(text.as_bytes());
                self.body.push(if rng.one_in(9) { 0xe9 } else { 0 });
            }
            (_, Some(size)) => self.number(size, rng.draw()),
        }
    }

    fn field(&mut self, field: &SalField, rng: &mut Rng) {
        let values = |writer: &mut Self, rng: &mut Rng| {
            (0..field.count.unwrap_or(1)).for_each(|_| writer.value(field.scalar, rng));
        };
        if field.count.is_some() && field.scalar == Scalar::Text && self.xcdr2 {
            let at = self.length();
            values(self, rng);
            self.end(at);
        } else {
            values(self, rng);
        }
    }

    fn length(&mut self) -> usize {
        self.number(4, 0);
        self.body.len()
    }

    fn end(&mut self, at: usize) {
        let length = (self.body.len() - at) as u32;
        let bytes = if self.big_endian {
            length.to_be_bytes()
        } else {
            length.to_le_bytes()
        };
        self.body[at - 4..at].copy_from_slice(&bytes);
    }
}

fn payload(topic: &SalTopic, rng: &mut Rng) -> Vec<u8> {
    let form = *rng.pick(&[0x00u16, 0x02, 0x06, 0x08, 0x0a]).unwrap();
    let big_endian = rng.one_in(2);
    let mut out = Writer {
        body: Vec::new(),
        big_endian,
        xcdr2: form >= 6,
    };
    let whole = (form >= 8).then(|| out.length());
    for field in &topic.fields {
        match form {
            // A value counts its alignment from its own begin: it is written apart.
            0x02 => {
                let mut value = Writer {
                    body: Vec::new(),
                    big_endian,
                    xcdr2: false,
                };
                value.field(field, rng);
                value.align(4);
                out.align(4);
                out.number(2, 0x3f01);
                out.number(2, 8);
                out.number(4, field.id.into());
                out.number(4, value.body.len() as u64);
                out.body.extend_from_slice(&value.body);
            }
            0x0a => {
                out.number(4, 4 << 28 | u64::from(field.id));
                let at = out.length();
                out.field(field, rng);
                out.end(at);
            }
            _ => out.field(field, rng),
        }
    }
    if form == 0x02 {
        out.align(4);
        out.number(2, 0x3f02);
        out.number(2, 0);
    }
    if let Some(at) = whole {
        out.end(at);
    }
    let id = form | u16::from(!big_endian);
    [&id.to_be_bytes()[..], &[0, 0], &out.body].concat()
}

/// What was transcoded is a datum of the topic's schema; what was refused leaves no trace.
fn check(input: &[u8]) -> Result<u64, Undecodable> {
    let (number, payload) = input.split_first().map_or((0, input), |(number, payload)| {
        (usize::from(*number), payload)
    });
    let Type { plan, decoder, .. } = &ALL[number % TYPES];
    let stamps = Stamps {
        received_tai: 1.7e9,
        encoded_tai: 1.7e9,
        leaps: &LEAPS,
    };
    let mut out = b"before".to_vec();
    let result = plan.transcode(payload, &stamps, &mut out);
    assert_eq!(&out[..6], b"before");
    match &result {
        Ok(outcome) => {
            decoder.check(&out[6..]).unwrap();
            let identity = out.get(outcome.identity.clone()).unwrap();
            assert!(std::str::from_utf8(identity).is_ok());
        }
        Err(error) => {
            assert_eq!(out.len(), 6);
            assert!(error.offset <= payload.len() + 8, "{error}");
        }
    }
    let key = plan.key_bytes(payload, efd_edge_transcode::KeyOf::Sample, &mut Vec::new());
    assert!(result.is_err() || key.is_ok(), "a whole sample has a key");
    result.map(|outcome| outcome.latin1_texts.min(3).into())
}

#[test]
fn cdr() {
    LazyLock::force(&ALL);
    LazyLock::force(&LEAPS);
    crate::run(&Target {
        name: "cdr",
        seed: |rng| {
            let number = rng.below(TYPES);
            [&[number as u8][..], &payload(&ALL[number].topic, rng)].concat()
        },
        // The same refusal in another form is another way.
        run: |input| {
            check(input).unwrap_or_else(|error| told(&error))
                ^ u64::from(input.get(2).copied().unwrap_or(0)) << 32
        },
        accepts: |input| check(input).is_ok(),
        repair: None,
        words: &[],
        memory_max: crate::few,
    });
}
