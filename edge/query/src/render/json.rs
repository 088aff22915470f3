//! Columns of numbers, instance by instance.

use std::io::Write as _;

use serde_json::json;

use crate::answer::Answer;
use crate::columns::Values;
use crate::error::QueryError;

/// NaN and infinities, which JSON has not, are null; so is what is absent.
pub(super) fn render(answer: &Answer, bytes_max: usize) -> Result<Vec<u8>, QueryError> {
    let columns: Vec<_> = answer
        .columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name, "field": column.field, "element": column.element,
                "statistic": column.statistic.map(|it| it.name()), "units": column.units,
            })
        })
        .collect();
    let head = json!({
        "topic": answer.topic, "tier": answer.tier, "why": answer.why, "resolution": answer.resolution,
        "from": answer.times.0, "until": answer.times.1, "raw_since": answer.raw_since,
        "complete_until": answer.complete_until, "building": answer.is_building,
        "damaged_blocks": answer.damaged_blocks, "unread_files": answer.unread_files, "columns": columns,
    });
    let mut out = head.to_string().into_bytes();
    out.pop();
    out.extend_from_slice(b",\"series\":[");
    for (number, part) in answer.parts.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        put(&mut out, &json!({ "instance": part.instance }));
        out.pop();
        out.extend_from_slice(b",\"times\":");
        put(&mut out, &part.times);
        out.extend_from_slice(b",\"values\":[");
        for (number, column) in part.values.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            match column {
                Values::Double(values) => put(&mut out, values),
                Values::Long(values) => put(&mut out, values),
                Values::Boolean(values) => put(&mut out, values),
                Values::Text(values) => put(&mut out, values),
            }
            if bytes_max < out.len() {
                return Err(QueryError::TooManyBytes { max: bytes_max });
            }
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"]}");
    let _newline = out.write_all(b"\n");
    Ok(out)
}

/// Into memory nothing fails, and no key here is anything but text.
fn put(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    let _written = serde_json::to_writer(out, value);
}
