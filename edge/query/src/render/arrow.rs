//! An Arrow IPC stream: `time`, `instance`, and a column for each of the answer.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use efd_shared_arrow::time_type;

use crate::answer::{Answer, AnswerColumn};
use crate::columns::Values;
use crate::error::QueryError;

pub(super) fn render(answer: Answer) -> Result<Vec<u8>, QueryError> {
    write(answer).map_err(|error| QueryError::Bad(format!("write Arrow: {error}")))
}

fn write(answer: Answer) -> Result<Vec<u8>, ArrowError> {
    let schema = Arc::new(schema(&answer));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    for part in answer.parts {
        let rows = part.times.len();
        let times = TimestampNanosecondArray::from(part.times).with_timezone("UTC");
        let instances = Int32Array::from(vec![part.instance; rows]);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(instances)];
        columns.extend(part.values.into_iter().map(array));
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    writer.finish()?;
    writer.into_inner()
}

fn schema(answer: &Answer) -> Schema {
    let mut fields = vec![
        Field::new("time", time_type(), false),
        Field::new("instance", DataType::Int32, true),
    ];
    let kinds: Vec<DataType> = match answer.parts.first() {
        Some(part) => part.values.iter().map(data_type).collect(),
        None => vec![DataType::Float64; answer.columns.len()],
    };
    fields.extend(
        answer
            .columns
            .iter()
            .zip(kinds)
            .map(|(column, kind)| field(column, kind)),
    );
    let metadata = [
        ("topic", answer.topic.clone()),
        ("tier", answer.tier.clone()),
        ("why", answer.why.clone()),
        ("complete_until", answer.complete_until.to_string()),
        ("building", answer.is_building.to_string()),
        ("damaged_blocks", answer.damaged_blocks.to_string()),
        ("unread_files", answer.unread_files.to_string()),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
    let resolution = answer.resolution;
    let resolution = resolution.map(|it| ("resolution".to_owned(), it.to_string()));
    let metadata: HashMap<_, _> = metadata.into_iter().chain(resolution).collect();
    Schema::new(fields).with_metadata(metadata)
}

fn field(column: &AnswerColumn, kind: DataType) -> Field {
    let units = column.units.iter();
    let units = units.map(|units| ("units".to_owned(), units.clone()));
    let statistic = column.statistic.iter();
    let statistic = statistic.map(|it| ("statistic".to_owned(), it.name().to_owned()));
    let metadata: HashMap<_, _> = units.chain(statistic).collect();
    Field::new(&column.name, kind, true).with_metadata(metadata)
}

fn data_type(values: &Values) -> DataType {
    match values {
        Values::Double(_) => DataType::Float64,
        Values::Long(_) => DataType::Int64,
        Values::Boolean(_) => DataType::Boolean,
        Values::Text(_) => DataType::Utf8,
    }
}

fn array(values: Values) -> ArrayRef {
    match values {
        Values::Double(values) => Arc::new(Float64Array::from(values)),
        Values::Long(values) => Arc::new(Int64Array::from(values)),
        Values::Boolean(values) => Arc::new(BooleanArray::from(values)),
        Values::Text(values) => Arc::new(StringArray::from(values)),
    }
}
