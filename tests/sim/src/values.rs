//! Plausible values, a function of (seed, topic, instance, sequence number, field, element) alone: any sample can be
//! made again, by whoever knows the seed.
//!
//! Telemetry drifts slowly, is quantised as a sensor's converter does, carries noise, now and then steps or repeats its
//! set point, and is NaN where a sensor is off. There are no public captures of the bus: these are invented.

use efd_shared_types::sal::{SalField, Scalar};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Boolean(bool),
    Integer(i64),
    Single(f32),
    Double(f64),
    /// The bytes on the bus; ISO-8859-1 where they are not UTF-8.
    Text(Vec<u8>),
    List(Vec<Self>),
}

/// How much of the strange a run contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Mix {
    #[default]
    Plausible,
    /// NaN, infinities, the ends of the integers, text that is not UTF-8: every sample is a hard one.
    Extreme,
}

/// One sample's place in the run: what values are a function of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) seed: u64,
    pub(crate) topic: u64,
    pub(crate) instance: i32,
    pub(crate) sequence: i64,
    pub(crate) mix: Mix,
}

impl Seat {
    pub(crate) fn value(&self, index: usize, field: &SalField) -> Value {
        match field.count {
            None => self.one(field.scalar, index, 0),
            Some(count) => Value::List(
                (0..count)
                    .map(|element| self.one(field.scalar, index, element))
                    .collect(),
            ),
        }
    }

    fn random(&self, salt: u64) -> u64 {
        let instance = self.instance as u64;
        mix(self.seed ^ mix(self.topic ^ mix(instance ^ mix((self.sequence as u64) ^ mix(salt)))))
    }

    /// The same for all samples of a field.
    fn constant(&self, salt: u64) -> u64 {
        mix(self.seed ^ mix(self.topic ^ mix(self.instance as u64 ^ mix(salt ^ 0x5eed))))
    }

    fn one(&self, scalar: Scalar, index: usize, element: u32) -> Value {
        let salt = (index as u64) << 32 | u64::from(element);
        let random = self.random(salt);
        match scalar {
            Scalar::Boolean => Value::Boolean(random.is_multiple_of(5)),
            Scalar::I8 => self.integer(i8::MIN.into(), i8::MAX.into(), random),
            Scalar::U8 => self.integer(0, u8::MAX.into(), random),
            Scalar::I16 => self.integer(i16::MIN.into(), i16::MAX.into(), random),
            Scalar::U16 => self.integer(0, u16::MAX.into(), random),
            Scalar::I32 => self.integer(i32::MIN.into(), i32::MAX.into(), random),
            Scalar::U32 => self.integer(0, u32::MAX.into(), random),
            Scalar::I64 => self.integer(i64::MIN, i64::MAX, random),
            // Avro's long ends at 2^63 - 1: above it a sample is undecodable, which is another test's subject.
            Scalar::U64 => self.integer(0, i64::MAX, random),
            Scalar::F32 => Value::Single(self.float(salt, random) as f32),
            Scalar::F64 => Value::Double(self.float(salt, random)),
            Scalar::Text => Value::Text(self.text(index)),
        }
    }

    fn integer(&self, min: i64, max: i64, random: u64) -> Value {
        Value::Integer(match self.mix {
            Mix::Plausible => ((random % 100) as i64).min(max),
            Mix::Extreme => match random % 4 {
                0 => min,
                1 => max,
                2 => 0,
                _ => min
                    .wrapping_add((random >> 2) as i64 & max)
                    .max(min)
                    .min(max),
            },
        })
    }

    fn float(&self, salt: u64, random: u64) -> f64 {
        if self.mix == Mix::Extreme {
            return match random % 8 {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => f64::NEG_INFINITY,
                3 => -0.0,
                4 => f64::MIN_POSITIVE / 3.0,
                5 => f64::MAX,
                _ => f64::from_bits(random & !(0x7ff << 52) | (random % 2000) << 52),
            };
        }
        let own = self.constant(salt);
        let off = own.is_multiple_of(97);
        let set_point = own.is_multiple_of(11);
        if off {
            return f64::NAN;
        }
        let scale = 10f64.powi((own >> 8) as i32 % 4);
        let base = ((own >> 16) % 2000) as f64 - 1000.0;
        if set_point {
            return base * scale / 100.0;
        }
        let phase = (own >> 32) as f64 / u32::MAX as f64;
        let drift = (self.sequence as f64 / 400.0 + phase * std::f64::consts::TAU).sin();
        let step = if (self.sequence / 1000 + (own % 7) as i64) % 5 == 0 {
            3.0
        } else {
            0.0
        };
        let noise = (random % 1000) as f64 / 1000.0 - 0.5;
        // A converter of 2^-12 of the range.
        let quantum = scale / 4096.0;
        let value = base + (drift + step) * scale + noise * scale / 200.0;
        (value / quantum).round() * quantum
    }

    /// At most 20 bytes, the smallest bound of SAL's texts that are not private.
    fn text(&self, index: usize) -> Vec<u8> {
        let random = self.random((index as u64) << 32 | 0x7ee7);
        const PLAUSIBLE: [&str; 6] = ["", "ok", "STANDBY", "axis ready", "12.5 °C", "naïve café"];
        const EXTREME: [&[u8]; 6] = [
            b"",
            b"caf\xe9",
            b"\xff\xfe\x80",
            "日本語 ✓ 🙂".as_bytes(),
            b"tab\tnew\nline\"\\",
            b"\xc3(",
        ];
        match self.mix {
            Mix::Plausible => PLAUSIBLE[(random % 6) as usize].as_bytes().to_vec(),
            Mix::Extreme => EXTREME[(random % 6) as usize].to_vec(),
        }
    }
}

/// What Avro's text must be: the bytes as they are if UTF-8, else each byte as the character of its number.
pub(crate) fn expected_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014).
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(sequence: i64, mix: Mix) -> Seat {
        Seat {
            seed: 1,
            topic: 2,
            instance: 1,
            sequence,
            mix,
        }
    }

    fn doubles(count: u32) -> SalField {
        let metadata = Default::default();
        SalField {
            name: "x".into(),
            id: 0,
            scalar: Scalar::F64,
            count: Some(count),
            metadata,
        }
    }

    #[test]
    fn a_sample_can_be_made_again() {
        let text = |sequence| {
            format!(
                "{:?}",
                seat(sequence, Mix::Plausible).value(3, &doubles(50))
            )
        };
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn extremes_contain_what_they_are_for() {
        let text = format!("{:?}", seat(1, Mix::Extreme).value(0, &doubles(200)));
        for wanted in ["NaN", "(inf)", "(-inf)", "(-0.0)"] {
            assert!(text.contains(wanted), "{wanted}");
        }
        let integers: Vec<Value> = (0..50)
            .map(|n| seat(n, Mix::Extreme).one(Scalar::I64, 0, 0))
            .collect();
        assert!(
            integers.contains(&Value::Integer(i64::MIN))
                && integers.contains(&Value::Integer(i64::MAX))
        );
        for n in 0..200 {
            let Value::Integer(small) = seat(n, Mix::Extreme).one(Scalar::I16, 0, 0) else {
                panic!()
            };
            assert!(i16::try_from(small).is_ok(), "{small}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_taken_as_latin1() {
        assert_eq!(expected_text(b"caf\xe9"), "café");
        assert_eq!(expected_text("日本".as_bytes()), "日本");
    }
}
