//! `show`: the streams of a buffer, a topic with its schema, a block, or one record in full.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use efd_shared_avro::{Decoder, Field, FieldType, RecordSchema, Value, read_values};
use efd_shared_model::block::Codec;
use efd_shared_model::clock::ClockSource;
use efd_shared_model::{
    BlockId, EpochDeclaration, EventTimeOrigin, RecordId, SealedBlock, StreamDeclaration,
};
use efd_shared_store::{Item, ReadOnlyStore, Reader};
use serde_json::json;

use crate::open::open;
use crate::outcome::{Exit, InspectError};
use crate::pattern::Pattern;
use crate::screen::{Screen, printable};
use crate::table::{Table, size};

/// What to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// All streams.
    Streams,
    /// Topics that match, with their fields.
    Topic(String),
    Block(BlockId),
    Record(RecordId),
}

impl What {
    /// Nothing, a topic or pattern, `edge/epoch/lane/number` or `edge/epoch/lane/number/index`.
    pub fn parse(text: Option<&str>) -> Result<Self, InspectError> {
        let Some(text) = text else {
            return Ok(Self::Streams);
        };
        let bad = || InspectError::NotAnId(text.chars().take(200).collect());
        match text.matches('/').count() {
            0 => Ok(Self::Topic(text.to_owned())),
            3 => {
                let first: RecordId = format!("{text}/0").parse().map_err(|_| bad())?;
                Ok(Self::Block(first.block))
            }
            4 => text.parse().map(Self::Record).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }
}

pub fn show(
    path: &Path,
    what: &What,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    let store = open(path, screen)?;
    match what {
        What::Streams => streams(&store, None, json, screen)?,
        What::Topic(pattern) => streams(&store, Some(pattern), json, screen)?,
        What::Block(id) => {
            let block = find(&store, *id)?;
            show_block(&store, &block, json, screen)?;
        }
        What::Record(id) => {
            let block = find(&store, id.block)?;
            record(&store, *id, &block, json, screen)?;
        }
    }
    Ok(screen.end()?)
}

fn find(store: &ReadOnlyStore, id: BlockId) -> Result<SealedBlock, InspectError> {
    match store.reader().read_block(&id.lane, id.number)? {
        Some(Item::Block(_, block)) => Ok(block),
        Some(Item::Damaged(damaged)) => Err(InspectError::DamagedBlock {
            id,
            reason: damaged.reason.to_string(),
        }),
        Some(Item::Absent { .. }) | None => Err(InspectError::NoBlock(id)),
    }
}

fn all_streams(
    reader: &mut Reader,
) -> Result<Vec<(EpochDeclaration, StreamDeclaration)>, InspectError> {
    let mut all = Vec::new();
    for epoch in reader.epochs()? {
        for stream in reader.streams(epoch.epoch)? {
            all.push((epoch.clone(), stream));
        }
    }
    all.sort_by(|(epoch_a, a), (epoch_b, b)| {
        (&a.topic, epoch_a.began.utc, a.number).cmp(&(&b.topic, epoch_b.began.utc, b.number))
    });
    Ok(all)
}

fn streams(
    store: &ReadOnlyStore,
    pattern: Option<&str>,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<(), InspectError> {
    let mut reader = store.reader();
    let mut all = all_streams(&mut reader)?;
    if let Some(text) = pattern {
        let wanted = Pattern::new(text);
        let topics: Vec<String> = all.iter().map(|(_, stream)| stream.topic.clone()).collect();
        all.retain(|(_, stream)| wanted.matches(&stream.topic));
        if all.is_empty() {
            return Err(InspectError::NoTopic {
                pattern: text.to_owned(),
                of: topics.len(),
                similar: wanted.similar(topics.iter().map(String::as_str), 10),
            });
        }
    }
    if json {
        for (epoch, stream) in &all {
            let schema = reader.schema(&stream.schema)?;
            let schema =
                schema.and_then(|it| serde_json::from_str::<serde_json::Value>(it.text()).ok());
            let line = json!({
                "topic": stream.topic, "kind": format!("{:?}", stream.kind).to_lowercase(), "epoch": epoch.epoch.to_string(),
                "stream": stream.number.0, "dds_topic": stream.dds_topic, "dds_type": stream.dds_type,
                "fingerprint": stream.schema.to_string(), "schema": schema,
            });
            writeln!(screen.out, "{line}")?;
        }
        return Ok(());
    }
    let mut table = Table::new(&["TOPIC", "KIND", "EPOCH", "STREAM", "SCHEMA", "DDS TYPE"]);
    for (epoch, stream) in &all {
        table.row([
            printable(&stream.topic),
            format!("{:?}", stream.kind).to_lowercase(),
            epoch.epoch.to_string(),
            stream.number.0.to_string(),
            stream.schema.short(),
            printable(&stream.dds_type),
        ]);
    }
    table.write(&mut screen.out)?;
    if pattern.is_some() {
        // The same schema in many epochs is shown once.
        let schemas: BTreeMap<_, _> = all
            .iter()
            .map(|(_, stream)| ((&stream.topic, stream.schema), ()))
            .collect();
        for (topic, fingerprint) in schemas.into_keys() {
            match reader.schema(&fingerprint)? {
                Some(schema) => fields(topic, &schema, screen)?,
                None => screen.damaged(format_args!(
                    "{topic}: its schema {} is not here",
                    fingerprint.short()
                ))?,
            }
        }
    }
    Ok(())
}

fn fields(
    topic: &str,
    schema: &efd_shared_model::Schema,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<(), InspectError> {
    writeln!(
        screen.out,
        "\n{} {}",
        printable(topic),
        schema.fingerprint().short()
    )?;
    let parsed = match RecordSchema::parse(schema.text()) {
        Ok(parsed) => parsed,
        Err(error) => return Ok(screen.damaged(format_args!("{topic}: {error}"))?),
    };
    let mut table = Table::new(&["FIELD", "TYPE", "UNITS", "DESCRIPTION"]);
    for field in &parsed.fields {
        let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".into(), printable);
        table.row([
            printable(&field.name),
            kind(field),
            text(&field.units),
            text(&field.description),
        ]);
    }
    writeln!(screen.out)?;
    Ok(table.write(&mut screen.out)?)
}

fn kind(field: &Field) -> String {
    let kind = match &field.field_type {
        FieldType::Scalar(_) if field.is_timestamp => "timestamp".to_owned(),
        FieldType::Scalar(scalar) => scalar.name().to_owned(),
        FieldType::Array(scalar) => format!("{}[]", scalar.name()),
        FieldType::Enum(of) => printable(&format!("enum of {}", of.symbols.join(", "))),
        FieldType::Nested(of) => printable(&of.to_string()),
    };
    match field.is_nullable {
        true => format!("{kind} or null"),
        false => kind,
    }
}

fn show_block(
    store: &ReadOnlyStore,
    sealed: &SealedBlock,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<(), InspectError> {
    let (id, header) = (sealed.id(), sealed.header());
    let block = sealed.open().map_err(|error| InspectError::DamagedBlock {
        id,
        reason: error.to_string(),
    })?;
    let streams = store.reader().streams(id.lane.epoch).unwrap_or_default();
    let topic = |number| {
        let known = streams.iter().find(|stream| stream.number == number);
        known.map_or_else(|| "-".to_owned(), |stream| printable(&stream.topic))
    };
    let clock = &header.clock;
    if json {
        let sections: Vec<_> = block
            .sections()
            .map(|section| {
                json!({"stream": section.stream().0, "topic": topic(section.stream()), "records": section.len()})
            })
            .collect();
        let line = json!({
            "block": id.to_string(), "records": header.records, "stored_bytes": sealed.bytes().len(),
            "payload_bytes": sealed.payload_bytes(), "digest": format!("{:032x}", sealed.digest()),
            "from": header.event_time_min.to_string(), "until": header.event_time_max.saturating_add(1).to_string(),
            "sealed": clock.utc.to_string(), "tai_minus_utc": clock.tai_offset, "sections": sections,
        });
        writeln!(screen.out, "{line}")?;
        return Ok(());
    }
    writeln!(screen.out, "block {id}")?;
    writeln!(
        screen.out,
        "{} records from {} to {}",
        header.records, header.event_time_min, header.event_time_max
    )?;
    writeln!(
        screen.out,
        "{} stored{}, {} uncompressed, digest {:032x}",
        size(sealed.bytes().len() as u64),
        match sealed.codec() {
            Codec::None => "",
            Codec::Zstd => " (Zstandard)",
        },
        size(sealed.payload_bytes() as u64),
        sealed.digest()
    )?;
    writeln!(
        screen.out,
        "sealed at {} by a clock that {}, TAI - UTC = {} s",
        clock.utc,
        match (clock.source, clock.error) {
            (ClockSource::Disciplined, Some(error)) => format!("is within {error} ns of UTC"),
            (ClockSource::Disciplined, None) => "is disciplined".to_owned(),
            (ClockSource::Undisciplined, _) => "nobody disciplines".to_owned(),
            (ClockSource::Unknown, _) => "nobody knows to be right or wrong".to_owned(),
        },
        clock.tai_offset
    )?;
    let mut table = Table::new(&["STREAM", "TOPIC", "RECORDS"]);
    for section in block.sections() {
        table.row([
            section.stream().0.to_string(),
            topic(section.stream()),
            section.len().to_string(),
        ]);
    }
    writeln!(screen.out)?;
    Ok(table.write(&mut screen.out)?)
}

fn record(
    store: &ReadOnlyStore,
    id: RecordId,
    sealed: &SealedBlock,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<(), InspectError> {
    let damaged = |reason: String| InspectError::DamagedBlock {
        id: id.block,
        reason,
    };
    let block = sealed.open().map_err(|error| damaged(error.to_string()))?;
    let (number, record) = block
        .records()
        .find(|(_, record)| record.index == id.index)
        .ok_or(InspectError::NoRecord {
            id,
            records: block.header().records,
        })?;
    let mut reader = store.reader();
    let streams = reader.streams(id.block.lane.epoch)?;
    let stream = streams
        .iter()
        .find(|stream| stream.number == number)
        .ok_or_else(|| damaged(format!("stream {} is not declared here", number.0)))?;
    let schema = reader
        .schema(&stream.schema)?
        .ok_or_else(|| damaged(format!("its schema {} is not here", stream.schema.short())))?;
    let schema = RecordSchema::parse(schema.text()).map_err(|error| damaged(error.to_string()))?;
    let decoder = Decoder::new(schema.into());
    let values = read_values(&decoder, record.datum).map_err(|error| damaged(error.to_string()))?;
    let stamps = record.stamps;
    if json {
        let fields: serde_json::Map<_, _> = decoder
            .schema()
            .fields
            .iter()
            .zip(&values)
            .map(|(field, value)| {
                let value = json!({"value": serde_json::Value::from(value.clone()), "units": field.units, "description": field.description});
                (field.name.clone(), value)
            })
            .collect();
        let line = json!({
            "topic": stream.topic, "time": stamps.event_time.to_string(), "id": id.to_string(),
            "instance": stamps.instance, "implausible": stamps.implausible, "latin1": stamps.latin1, "fields": fields,
        });
        writeln!(screen.out, "{line}")?;
        return Ok(());
    }
    writeln!(screen.out, "{} {id}", printable(&stream.topic))?;
    writeln!(
        screen.out,
        "at {}, {}{}",
        stamps.event_time,
        match stamps.origin {
            EventTimeOrigin::SndStamp => "as its publisher stamped it (private_sndStamp)",
            EventTimeOrigin::Source => "as its writer's DDS stamped it",
            EventTimeOrigin::Reception => "when the edge received it",
        },
        stamps
            .instance
            .map_or_else(String::new, |it| format!(", instance {it}"))
    )?;
    let mut table = Table::new(&["FIELD", "VALUE", "UNITS", "DESCRIPTION"]);
    for (field, value) in decoder.schema().fields.iter().zip(&values) {
        let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".into(), printable);
        table.row([
            printable(&field.name),
            printable(&shown(value)),
            text(&field.units),
            text(&field.description),
        ]);
    }
    writeln!(screen.out)?;
    Ok(table.write(&mut screen.out)?)
}

fn shown(value: &Value) -> String {
    serde_json::Value::from(value.clone()).to_string()
}
