//! What is asked for, as it is written in a request.

use std::fmt;
use std::ops::Range;

use efd_shared_avro::{FieldType, RecordSchema, Scalar};

use crate::columns::Kind;
use crate::error::{QueryError, alike};

/// `position`, `force[3]`, `force[0:4]`: elements 0 to 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldAsk {
    pub field: String,
    pub elements: Option<Range<usize>>,
}

impl FieldAsk {
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let bad = |why: &str| {
            QueryError::Bad(format!(
                "field `{text}`: {why}; write `name`, `name[3]` or `name[0:4]`"
            ))
        };
        let Some((field, rest)) = text.split_once('[') else {
            return match text {
                "" => Err(bad("it is empty")),
                text => Ok(Self {
                    field: text.to_owned(),
                    elements: None,
                }),
            };
        };
        let inner = rest.strip_suffix(']').ok_or_else(|| bad("it has no `]`"))?;
        let number = |text: &str| {
            text.parse::<u32>()
                .map(|number| number as usize)
                .map_err(|_| bad("an element is a number from 0 on"))
        };
        let elements = match inner.split_once(':') {
            Some((first, end)) => number(first)?..number(end)?,
            None => {
                let element = number(inner)?;
                element..element + 1
            }
        };
        if elements.is_empty() {
            return Err(bad("no element is in it"));
        }
        Ok(Self {
            field: field.to_owned(),
            elements: Some(elements),
        })
    }
}

/// One value of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub field: String,
    /// Of an array.
    pub element: Option<usize>,
    pub kind: Kind,
    pub units: Option<String>,
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.element {
            Some(element) => write!(f, "{}[{element}]", self.field),
            None => f.write_str(&self.field),
        }
    }
}

/// What is made of other values is JSON.
pub(crate) fn kind(field_type: &FieldType) -> Kind {
    match field_type.scalar() {
        Some(Scalar::Double) => Kind::Double,
        Some(Scalar::Long) => Kind::Long,
        Some(Scalar::Boolean) => Kind::Boolean,
        Some(Scalar::String | Scalar::Bytes) | None => Kind::Text,
    }
}

/// Of columns: an answer is a table.
const COLUMNS_MAX: usize = 4096;

/// The columns of what is asked for; an array without elements means all of it, nothing at all every field but arrays of
/// varying length.
pub(crate) fn columns(
    topic: &str,
    schema: &RecordSchema,
    asked: &[FieldAsk],
) -> Result<Vec<Column>, QueryError> {
    let mut columns = Vec::new();
    let every: Vec<FieldAsk>;
    let asked = match asked {
        [] => {
            let fields = schema.fields.iter();
            every = fields
                .filter(|field| !field.field_type.is_array() || field.length.is_some())
                .map(|field| FieldAsk {
                    field: field.name.clone(),
                    elements: None,
                })
                .collect();
            &every
        }
        asked => asked,
    };
    for ask in asked {
        let found = schema.fields.iter().find(|field| field.name == ask.field);
        let field = found.ok_or_else(|| QueryError::NoField {
            topic: topic.to_owned(),
            field: ask.field.clone(),
            similar: alike(&ask.field, schema.fields.iter().map(|it| it.name.as_str())),
        })?;
        let fault = |fault: String| QueryError::Field {
            topic: topic.to_owned(),
            field: ask.field.clone(),
            fault,
        };
        let column = |element| Column {
            field: field.name.clone(),
            element,
            kind: kind(&field.field_type),
            units: field.units.clone(),
        };
        let is_array = field.field_type.is_array();
        match &ask.elements {
            None if !is_array && columns.len() < COLUMNS_MAX => {
                columns.push(column(None));
            }
            None if !is_array => {
                return Err(fault(format!("more than {COLUMNS_MAX} columns")));
            }
            Some(_) if !is_array => return Err(fault("it is no array".into())),
            elements => {
                let elements = match (elements, field.length) {
                    (Some(elements), Some(length)) if length < elements.end => {
                        return Err(fault(format!("it has elements 0 to {}", length - 1)));
                    }
                    (Some(elements), _) => elements.clone(),
                    (None, Some(length)) => 0..length,
                    (None, None) => {
                        return Err(fault(
                            "its length varies: name elements, as in `name[0:4]`".into(),
                        ));
                    }
                };
                if COLUMNS_MAX < columns.len() + elements.len() {
                    return Err(fault(format!("more than {COLUMNS_MAX} columns")));
                }
                columns.extend(elements.map(|element| column(Some(element))));
            }
        }
    }
    Ok(columns)
}

/// From where an answer is to come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TierAsk {
    /// The best there is for the span and the number of points.
    #[default]
    Auto,
    Raw,
    /// By its name: `10s`.
    Tier(String),
}

impl TierAsk {
    pub fn parse(text: &str) -> Self {
        match text {
            "auto" | "" => Self::Auto,
            "raw" => Self::Raw,
            name => Self::Tier(name.to_owned()),
        }
    }
}

/// What is given of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stat {
    Count,
    NanCount,
    Min,
    Max,
    Mean,
    Stdev,
    First,
    Last,
    Q1,
    Median,
    Q3,
}

impl Stat {
    pub const ALL: [Self; 11] = [
        Self::Count,
        Self::NanCount,
        Self::Min,
        Self::Max,
        Self::Mean,
        Self::Stdev,
        Self::First,
        Self::Last,
        Self::Q1,
        Self::Median,
        Self::Q3,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::NanCount => "nan_count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Stdev => "stdev",
            Self::First => "first",
            Self::Last => "last",
            Self::Q1 => "q1",
            Self::Median => "median",
            Self::Q3 => "q3",
        }
    }

    /// Those of the field: a count has none.
    pub(crate) fn has_units(self) -> bool {
        !matches!(self, Self::Count | Self::NanCount)
    }

    /// `mean,min,max`.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, QueryError> {
        let one = |name: &str| {
            let found = Self::ALL
                .into_iter()
                .find(|stat| stat.name() == name.trim());
            found.ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|stat| stat.name()).collect();
                QueryError::Bad(format!(
                    "statistic `{}` is none of {}",
                    name.trim(),
                    known.join(", ")
                ))
            })
        };
        let mut all = Vec::new();
        for stat in text.split(',').map(one) {
            let stat = stat?;
            if all.contains(&stat) {
                return Err(QueryError::Bad(format!(
                    "statistic `{}` comes twice",
                    stat.name()
                )));
            }
            all.push(stat);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let check = |text: &str, expected: Result<(&str, Option<Range<usize>>), &str>| {
            let found = FieldAsk::parse(text);
            match expected {
                Ok((field, elements)) => {
                    let expected = FieldAsk {
                        field: field.into(),
                        elements,
                    };
                    assert_eq!(found.unwrap(), expected, "{text}");
                }
                Err(error) => assert!(found.unwrap_err().to_string().contains(error), "{text}"),
            }
        };
        check("position", Ok(("position", None)));
        check("force[3]", Ok(("force", Some(3..4))));
        check("force[0:4]", Ok(("force", Some(0..4))));
        check("force[4:4]", Err("no element"));
        check("force[-1]", Err("from 0 on"));
        check("force[1", Err("no `]`"));
        check("", Err("empty"));
        check("force[4294967296]", Err("from 0 on"));
    }

    #[test]
    fn statistics() {
        assert_eq!(
            Stat::parse_list("mean, max").unwrap(),
            [Stat::Mean, Stat::Max]
        );
        assert!(Stat::parse_list("mean,mean").is_err());
        let error = Stat::parse_list("average").unwrap_err().to_string();
        assert!(error.starts_with("statistic `average` is none of count, "));
    }
}
