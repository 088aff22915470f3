//! Quantities as people write them: `7d`, `200GiB`, `20Mbit/s`.
//!
//! A number without a unit is refused, with the units it may have had. Each type prints what it reads:
//! the largest unit that gives a whole number, so `Display` and `FromStr` are inverses.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

#[cfg(test)]
mod tests;

/// A length of time in nanoseconds: `500ms`, `20s`, `10m`, `1h`, `7d`, `52w`, `1.5h`. 0 to 2^63−1 ns (292 years).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(u64);

/// A number of bytes: `64KiB`, `200GiB`, `10MB`. 0 to 2^63−1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

/// A rate of bytes: `20Mbit/s`, `5MB/s`. Kept in bit/s, 0 to 2^63−1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteRate(u64);

/// What no quantity may exceed, in its base unit, so that it also fits an `i64`.
pub const QUANTITY_MAX: u64 = i64::MAX as u64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("`{text}` has no unit: write {suggestions}")]
    NoUnit { text: String, suggestions: String },
    #[error("`{text}` has the unknown unit `{unit}`: {hint}")]
    UnknownUnit {
        text: String,
        unit: String,
        hint: String,
    },
    #[error("`{text}` is not {what}: write it like {example}")]
    NotANumber {
        text: String,
        what: &'static str,
        example: &'static str,
    },
    #[error("`{text}` is negative; {what} is zero or more")]
    Negative { text: String, what: &'static str },
    #[error("`{text}` is finer than 1{base}, the smallest step of {what}")]
    TooFine {
        text: String,
        what: &'static str,
        base: &'static str,
    },
    #[error("`{text}` is larger than {max}, the largest value")]
    TooLarge { text: String, max: String },
    #[error("`{text}` is zero; more than zero is needed here")]
    Zero { text: String },
}

impl Span {
    pub const ZERO: Self = Self(0);

    /// Clamped to 292 years.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(if nanos > QUANTITY_MAX {
            QUANTITY_MAX
        } else {
            nanos
        })
    }

    pub const fn from_millis(millis: u64) -> Self {
        Self::from_nanos(millis.saturating_mul(1_000_000))
    }

    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_nanos(seconds.saturating_mul(1_000_000_000))
    }

    pub const fn from_days(days: u64) -> Self {
        Self::from_secs(days.saturating_mul(86_400))
    }

    pub const fn nanos(self) -> i64 {
        self.0 as i64
    }

    pub const fn duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl ByteSize {
    pub const ZERO: Self = Self(0);

    /// Clamped to 2^63−1.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(if bytes > QUANTITY_MAX {
            QUANTITY_MAX
        } else {
            bytes
        })
    }

    pub const fn from_mib(mib: u64) -> Self {
        Self::from_bytes(mib.saturating_mul(1 << 20))
    }

    pub const fn from_gib(gib: u64) -> Self {
        Self::from_bytes(gib.saturating_mul(1 << 30))
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// For a length in memory; `usize::MAX` where a `usize` is smaller.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl ByteRate {
    /// Clamped to 2^63−1.
    pub const fn from_bits_per_second(bits: u64) -> Self {
        Self(if bits > QUANTITY_MAX {
            QUANTITY_MAX
        } else {
            bits
        })
    }

    pub const fn from_mbit_per_second(mbit: u64) -> Self {
        Self::from_bits_per_second(mbit.saturating_mul(1_000_000))
    }

    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// Whole bytes a second, rounded down.
    pub const fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }
}

/// A quantity that zero would make meaningless: a period, a limit. Zero is refused where it is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Positive<T>(T);

impl<T: Quantity> Positive<T> {
    /// `None` for zero.
    pub fn new(value: T) -> Option<Self> {
        (!value.is_zero()).then_some(Self(value))
    }

    pub fn get(self) -> T {
        self.0
    }
}

impl<T: fmt::Display> fmt::Display for Positive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for Positive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Quantity> FromStr for Positive<T> {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        Self::new(text.parse()?).ok_or_else(|| UnitError::Zero { text: shown(text) })
    }
}

impl<'de, T: Quantity> Deserialize<'de> for Positive<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_quantity(deserializer, T::EXPECTED)
    }
}

impl<T: Serialize> Serialize for Positive<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// What [`Positive`] can hold.
pub trait Quantity: Copy + FromStr<Err = UnitError> {
    /// The phrase for an error about the wrong kind of value.
    const EXPECTED: &'static str;
    fn is_zero(&self) -> bool;
}

/// How one type is written.
struct Scale {
    what: &'static str,
    example: &'static str,
    /// Symbol and size in base units, the base unit (size 1) first, then ascending.
    units: &'static [(&'static str, u64)],
    /// Other ways to write a unit that are read, and never printed.
    read_too: &'static [(&'static str, u64)],
    /// Words that people write, and what they mean.
    meant: &'static [(&'static str, &'static str)],
    suggested: &'static [(&'static str, &'static str)],
}

const SECOND: u64 = 1_000_000_000;

const SPAN: Scale = Scale {
    what: "a length of time",
    example: "`20s`, `10m`, `1h` or `7d`",
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", SECOND),
        ("m", 60 * SECOND),
        ("h", 3_600 * SECOND),
        ("d", 86_400 * SECOND),
        ("w", 604_800 * SECOND),
    ],
    read_too: &[("µs", 1_000)],
    meant: &[
        ("sec", "s"),
        ("second", "s"),
        ("seconds", "s"),
        ("min", "m"),
        ("minute", "m"),
        ("minutes", "m"),
        ("hour", "h"),
        ("hours", "h"),
        ("day", "d"),
        ("days", "d"),
        ("D", "d"),
        ("week", "w"),
        ("weeks", "w"),
        ("month", "d"),
        ("months", "d"),
        ("M", "m"),
        ("y", "w"),
        ("year", "w"),
        ("years", "w"),
    ],
    suggested: &[
        ("s", "seconds"),
        ("m", "minutes"),
        ("h", "hours"),
        ("d", "days"),
    ],
};

const SIZE: Scale = Scale {
    what: "a number of bytes",
    example: "`64KiB`, `10MB` or `200GiB`",
    units: &[
        ("B", 1),
        ("kB", 1_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("TB", 1_000_000_000_000),
        ("TiB", 1 << 40),
    ],
    read_too: &[("KB", 1_000)],
    meant: &[
        ("b", "B"),
        ("bytes", "B"),
        ("k", "KiB"),
        ("K", "KiB"),
        ("kb", "kB"),
        ("kib", "KiB"),
        ("m", "MiB"),
        ("M", "MiB"),
        ("mb", "MB"),
        ("mib", "MiB"),
        ("g", "GiB"),
        ("G", "GiB"),
        ("gb", "GB"),
        ("gib", "GiB"),
        ("t", "TiB"),
        ("T", "TiB"),
        ("tb", "TB"),
        ("tib", "TiB"),
    ],
    suggested: &[
        ("MB", "megabytes"),
        ("MiB", "1024² bytes"),
        ("GiB", "1024³ bytes"),
    ],
};

const RATE: Scale = Scale {
    what: "a rate",
    example: "`20Mbit/s`, `1Gbit/s` or `5MB/s`",
    units: &[
        ("bit/s", 1),
        ("kbit/s", 1_000),
        ("Mbit/s", 1_000_000),
        ("Gbit/s", 1_000_000_000),
    ],
    read_too: &[
        ("B/s", 8),
        ("kB/s", 8_000),
        ("KB/s", 8_000),
        ("KiB/s", 8 << 10),
        ("MB/s", 8_000_000),
        ("MiB/s", 8 << 20),
        ("GB/s", 8_000_000_000),
        ("GiB/s", 8 << 30),
    ],
    meant: &[
        ("bps", "bit/s"),
        ("kbps", "kbit/s"),
        ("Kbit/s", "kbit/s"),
        ("mbps", "Mbit/s"),
        ("Mbps", "Mbit/s"),
        ("Mbit", "Mbit/s"),
        ("Mb/s", "Mbit/s"),
        ("mbit/s", "Mbit/s"),
        ("gbps", "Gbit/s"),
        ("Gbps", "Gbit/s"),
        ("Gbit", "Gbit/s"),
        ("Gb/s", "Gbit/s"),
        ("MB", "MB/s"),
        ("MiB", "MiB/s"),
    ],
    suggested: &[
        ("Mbit/s", "megabits a second"),
        ("MB/s", "megabytes a second"),
    ],
};

impl Scale {
    fn parse(&self, text: &str) -> Result<u64, UnitError> {
        let trimmed = text.trim();
        if trimmed.starts_with('-') {
            return Err(UnitError::Negative {
                text: shown(text),
                what: self.what,
            });
        }
        let split = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
            .unwrap_or(trimmed.len());
        let (number, unit) = (&trimmed[..split], trimmed[split..].trim_start());
        let not_a_number = || UnitError::NotANumber {
            text: shown(text),
            what: self.what,
            example: self.example,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if !whole.starts_with(|c: char| c.is_ascii_digit()) || fraction.contains('.') {
            return Err(not_a_number());
        }
        if unit.is_empty() {
            return Err(UnitError::NoUnit {
                text: shown(text),
                suggestions: self.suggestions(number),
            });
        }
        let factor = self.factor(text, number, unit)?;
        let too_large = || UnitError::TooLarge {
            text: shown(text),
            max: self.show(QUANTITY_MAX),
        };
        let whole = decimal(whole).and_then(|whole| whole.checked_mul(u128::from(factor)));
        let units = whole
            .ok_or_else(too_large)?
            .checked_add(part(fraction, factor).ok_or_else(|| UnitError::TooFine {
                text: shown(text),
                what: self.what,
                base: self.units[0].0,
            })?)
            .ok_or_else(too_large)?;
        u64::try_from(units)
            .ok()
            .filter(|units| *units <= QUANTITY_MAX)
            .ok_or_else(too_large)
    }

    fn factor(&self, text: &str, number: &str, unit: &str) -> Result<u64, UnitError> {
        let known = self.units.iter().chain(self.read_too);
        if let Some((_, factor)) = known.clone().find(|(name, _)| *name == unit) {
            return Ok(*factor);
        }
        let hint = match self.meant.iter().find(|(word, _)| *word == unit) {
            Some((_, "w")) if unit.starts_with('y') => {
                "years differ in length; write weeks or days, as in `52w`".to_owned()
            }
            Some((_, "d")) if unit.starts_with("mo") => {
                "months differ in length; write days, as in `31d`".to_owned()
            }
            Some((_, right)) => format!("did you mean `{number}{right}`?"),
            None => {
                let names: Vec<_> = known.map(|(name, _)| *name).collect();
                format!("the units are {}", names.join(", "))
            }
        };
        Err(UnitError::UnknownUnit {
            text: shown(text),
            unit: shown(unit),
            hint,
        })
    }

    /// "`7s` for seconds, `7m` for minutes, …".
    fn suggestions(&self, number: &str) -> String {
        let number = shown(number);
        let all: Vec<_> = self
            .suggested
            .iter()
            .map(|(unit, word)| format!("`{number}{unit}` for {word}"))
            .collect();
        all.join(", ")
    }

    fn show(&self, value: u64) -> String {
        let (unit, factor) = self
            .units
            .iter()
            .rev()
            .filter(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
            .min_by_key(|(_, factor)| value / factor)
            .unwrap_or_else(|| self.zero_unit());
        format!("{}{unit}", value / factor)
    }

    /// `0s` reads better than `0ns`.
    fn zero_unit(&self) -> &(&'static str, u64) {
        self.units
            .iter()
            .find(|(unit, _)| *unit == "s")
            .unwrap_or(&self.units[0])
    }
}

/// The digits of `text` as a number; underscores between them are skipped.
fn decimal(text: &str) -> Option<u128> {
    text.bytes()
        .filter(u8::is_ascii_digit)
        .try_fold(0u128, |sum, byte| {
            sum.checked_mul(10)?.checked_add(u128::from(byte - b'0'))
        })
}

/// `0.<fraction>` times `factor`, where that is a whole number.
fn part(fraction: &str, factor: u64) -> Option<u128> {
    let digits: String = fraction.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    let scale = 10u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let product = decimal(digits)?.checked_mul(u128::from(factor))?;
    (product % scale == 0).then_some(product / scale)
}

/// As much of a value as an error message should carry.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

macro_rules! quantity {
    ($name:ident, $scale:ident, $expected:literal) => {
        impl FromStr for $name {
            type Err = UnitError;
            fn from_str(text: &str) -> Result<Self, UnitError> {
                $scale.parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&$scale.show(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Quantity for $name {
            const EXPECTED: &'static str = $expected;
            fn is_zero(&self) -> bool {
                self.0 == 0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_quantity(deserializer, $expected)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

quantity!(
    Span,
    SPAN,
    "a length of time in quotes, such as \"20s\" or \"7d\""
);
quantity!(
    ByteSize,
    SIZE,
    "a number of bytes in quotes, such as \"64KiB\" or \"200GiB\""
);
quantity!(
    ByteRate,
    RATE,
    "a rate in quotes, such as \"20Mbit/s\" or \"5MB/s\""
);

fn deserialize_quantity<'de, D, T>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = UnitError>,
{
    struct Text<T>(&'static str, std::marker::PhantomData<T>);

    impl<T: FromStr<Err = UnitError>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }

        // A bare number goes through the same parser, which says what unit it may have had.
        fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
            self.visit_str(&value.to_string())
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
            self.visit_str(&value.to_string())
        }

        fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
            self.visit_str(&value.to_string())
        }
    }

    deserializer.deserialize_any(Text(expected, std::marker::PhantomData))
}

/// A number of bytes for people, rounded: `1.5 KiB`. [`ByteSize`] is exact.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 1024.0 && units.len() > 0 {
        value /= 1024.0;
        unit = units.next();
    }
    format!("{value:.1} {}", unit.unwrap_or(&"PiB"))
}
