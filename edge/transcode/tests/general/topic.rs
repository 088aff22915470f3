//! A type ready to be used, and its datums by the `apache-avro` reader.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use efd_edge_transcode::{GeneralOutcome, GeneralPlan, GeneralStamps, Undecodable};
use efd_shared_types::avro::AvroSchema;
use efd_shared_types::{GeneralTopic, TypeName, Types};

#[derive(Debug)]
pub struct Topic {
    pub topic: GeneralTopic,
    pub plan: GeneralPlan,
    pub schema: Schema,
}

pub fn topic(types: &Types, name: &str) -> Topic {
    let topic = GeneralTopic::of(types, &TypeName::new(name), "rt/test/topic").unwrap();
    let schema = AvroSchema::of_general(&topic);
    assert_eq!(schema, AvroSchema::of_general(&topic));
    Topic {
        plan: GeneralPlan::compile(&topic),
        topic,
        schema: Schema::parse_str(&schema.json)
            .unwrap_or_else(|error| panic!("{error}: {}", schema.json)),
    }
}

impl Topic {
    pub fn transcode(
        &self,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<GeneralOutcome, Undecodable> {
        let stamps = GeneralStamps {
            source: payload.len().is_multiple_of(2).then_some(-5),
            received: 1_800_000_000_000_000_001,
        };
        self.plan.transcode(payload, &stamps, out)
    }

    /// The fields of a datum but our two; panics where a byte is left over.
    pub fn read(&self, mut datum: &[u8]) -> Vec<(String, Value)> {
        let reader = GenericDatumReader::builder(&self.schema).build().unwrap();
        let value = reader.read_value(&mut datum).unwrap();
        assert!(datum.is_empty(), "{} bytes are left over", datum.len());
        let Value::Record(mut fields) = value else {
            panic!("a datum is a record");
        };
        let rest = fields.split_off(2);
        assert_eq!(fields[0].0, "efd_sourceTime");
        let received = Value::TimestampNanos(1_800_000_000_000_000_001);
        assert_eq!(fields[1], ("efd_receivedTime".to_owned(), received));
        rest
    }
}
