//! A line for each time and instance (RFC 4180).

use efd_shared_model::UtcNanos;

use crate::answer::Answer;
use crate::columns::Values;
use crate::error::QueryError;

/// The first lines begin with `#` and say from where the values come.
pub(super) fn render(answer: &Answer, bytes_max: usize) -> Result<Vec<u8>, QueryError> {
    let mut out = format!(
        "# {} from {}: {}\r\n",
        answer.topic, answer.tier, answer.why
    );
    if let Some(resolution) = answer.resolution {
        let seconds = resolution as f64 / 1e9;
        out.push_str(&format!(
            "# windows of {seconds} s, named by their start\r\n"
        ));
    }
    if answer.complete_until < answer.times.1 {
        let until = UtcNanos(answer.complete_until);
        out.push_str(&format!("# complete until {until}\r\n"));
    }
    if answer.is_building {
        out.push_str("# the tier is still being built: windows may be missing\r\n");
    }
    let unread = answer.damaged_blocks + answer.unread_files;
    if unread > 0 {
        out.push_str(&format!("# {unread} blocks or files cannot be read\r\n"));
    }
    out.push_str("time,instance");
    for column in &answer.columns {
        out.push(',');
        put_text(&mut out, &column.name);
    }
    out.push_str("\r\n");
    for part in &answer.parts {
        for (row, time) in part.times.iter().enumerate() {
            out.push_str(&format!("{},", UtcNanos(*time)));
            if let Some(instance) = part.instance {
                out.push_str(&instance.to_string());
            }
            for column in &part.values {
                out.push(',');
                put(&mut out, column, row);
            }
            out.push_str("\r\n");
            if bytes_max < out.len() {
                return Err(QueryError::TooManyBytes { max: bytes_max });
            }
        }
    }
    Ok(out.into_bytes())
}

/// What is absent is empty.
fn put(out: &mut String, column: &Values, row: usize) {
    let number = match column {
        Values::Double(values) => values[row].map(|value| format!("{value:?}")),
        Values::Long(values) => values[row].map(|value| value.to_string()),
        Values::Boolean(values) => values[row].map(|value| value.to_string()),
        Values::Text(values) => {
            if let Some(text) = &values[row] {
                put_text(out, text);
            }
            return;
        }
    };
    out.push_str(&number.unwrap_or_default());
}

fn put_text(out: &mut String, text: &str) {
    if text.contains(['"', ',', '\r', '\n']) || text.is_empty() {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}
