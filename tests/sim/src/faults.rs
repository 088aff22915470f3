//! What publishers do wrong, when they are told to: for tests of whoever has to notice.

use std::str::FromStr;
use std::time::Duration;

use efd_shared_types::SalTopic;

use crate::values::Value;

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Faults {
    /// `COMPONENT=SECONDS`: its stamps are so far ahead; `LabMount=-37` is TAI taken for UTC.
    #[arg(long = "clock-off", allow_hyphen_values = true)]
    clocks: Vec<Of<f64>>,
    /// `TOPIC=SECONDS`: from then on its floating-point values are NaN. A part of the DDS name will do.
    #[arg(long = "nan-from")]
    nans: Vec<Of<f64>>,
    /// `TOPIC=SECONDS`: from then on it is published two thousand times a second.
    #[arg(long = "flood-from")]
    floods: Vec<Of<f64>>,
}

const FLOOD_PERIOD: Duration = Duration::from_micros(500);

/// `NAME=VALUE`
#[derive(Clone, Debug)]
pub(crate) struct Of<T> {
    name: String,
    value: T,
}

impl<T: FromStr> FromStr for Of<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('=').and_then(|(name, value)| {
            let value = value.parse().ok()?;
            let name = name.to_owned();
            Some(Self { name, value })
        });
        parsed.ok_or_else(|| format!("`{text}` is not NAME=NUMBER"))
    }
}

impl Faults {
    /// Seconds that the topic's stamps are ahead.
    pub(crate) fn stamps_ahead(&self, topic: &SalTopic) -> f64 {
        let own = self.clocks.iter().filter(|of| of.name == topic.component);
        own.map(|of| of.value).sum()
    }

    pub(crate) fn period(&self, topic: &SalTopic, at: Duration) -> Option<Duration> {
        begun(&self.floods, topic, at).then_some(FLOOD_PERIOD)
    }

    pub(crate) fn is_nan(&self, topic: &SalTopic, at: Duration) -> bool {
        begun(&self.nans, topic, at)
    }
}

fn begun(faults: &[Of<f64>], topic: &SalTopic, at: Duration) -> bool {
    let seconds = at.as_secs_f64();
    let mut of_topic = faults
        .iter()
        .filter(|of| topic.dds_topic.contains(&of.name));
    of_topic.any(|of| of.value <= seconds)
}

/// The same, with no number in it.
pub(crate) fn without_numbers(value: Value) -> Value {
    match value {
        Value::Single(_) => Value::Single(f32::NAN),
        Value::Double(_) => Value::Double(f64::NAN),
        Value::List(values) => Value::List(values.into_iter().map(without_numbers).collect()),
        other @ (Value::Boolean(_) | Value::Integer(_) | Value::Text(_)) => other,
    }
}
