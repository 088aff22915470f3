//! Answers as bytes.

mod arrow;
mod csv;
mod json;

use crate::answer::Answer;
use crate::error::QueryError;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Json,
    Csv,
    Arrow,
}

impl Format {
    pub(crate) fn parse(text: &str) -> Result<Self, QueryError> {
        match text {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "arrow" => Ok(Self::Arrow),
            other => Err(QueryError::Bad(format!(
                "format `{other}` is none of json, csv, arrow"
            ))),
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

pub(crate) fn render(
    answer: Answer,
    format: Format,
    bytes_max: usize,
) -> Result<Vec<u8>, QueryError> {
    let bytes = match format {
        Format::Json => json::render(&answer, bytes_max)?,
        Format::Csv => csv::render(&answer, bytes_max)?,
        Format::Arrow => arrow::render(answer)?,
    };
    if bytes_max < bytes.len() {
        return Err(QueryError::TooManyBytes { max: bytes_max });
    }
    Ok(bytes)
}
