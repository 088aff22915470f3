//! The unit in which times are given.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epoch {
    Nanos,
    Micros,
    Millis,
    Seconds,
    Minutes,
    Hours,
}

impl Epoch {
    /// Of the parameter `epoch`; as in InfluxDB, a unit that there is not is nanoseconds, and nothing is none.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" => None,
            "u" | "µ" => Some(Self::Micros),
            "ms" => Some(Self::Millis),
            "s" => Some(Self::Seconds),
            "m" => Some(Self::Minutes),
            "h" => Some(Self::Hours),
            _ => Some(Self::Nanos),
        }
    }

    /// Towards 1970.
    pub(crate) fn of(self, nanos: i64) -> i64 {
        match self {
            Self::Nanos => nanos,
            Self::Micros => nanos / 1000,
            Self::Millis => nanos / 1_000_000,
            Self::Seconds => nanos / 1_000_000_000,
            Self::Minutes => nanos / 60_000_000_000,
            Self::Hours => nanos / 3_600_000_000_000,
        }
    }
}
