//! Values of a walk as a datum.

use super::list;
use super::plan::{Fixed, GeneralPlan, Kind, MemberPlan, NO_TIMES};
use super::sink::Sink;
use super::walk::Walk;
use crate::cdr::{Form, XCDR1, XCDR2, native};
use crate::convert::{self, BadValue, all_or_nothing, put_long, put_text};
use crate::error::{Cause, Undecodable};

/// Bytes of a datum for one of its payload, at most. Values are far below; what the writer left out,
/// and the cases of a union that it did not choose, take bytes as well.
pub const EXPANSION: usize = 64;

/// The least that [`EXPANSION`] is counted from.
const EXPANSION_BYTES: usize = 4 << 10;

/// The times that are not in the sample, in nanoseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralStamps {
    /// What the writer stamped; `None` where it sends none.
    pub source: Option<i64>,
    pub received: i64,
}

/// What the pipeline needs to know of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GeneralOutcome {
    /// Where the sample's own fields begin in the datum: behind the times.
    pub content: usize,
    /// Texts that were not UTF-8 and were taken as ISO-8859-1.
    pub latin1_texts: u32,
    /// Members that are not optional and that the sample does not have: they have their defaults.
    pub defaulted_members: u32,
}

impl GeneralPlan {
    /// Appends the Avro datum of `payload` to `out`. On error `out` is as before.
    pub fn transcode(
        &self,
        payload: &[u8],
        stamps: &GeneralStamps,
        out: &mut Vec<u8>,
    ) -> Result<GeneralOutcome, Undecodable> {
        all_or_nothing(out, |out| self.append(payload, stamps, out))
    }

    fn append(
        &self,
        payload: &[u8],
        stamps: &GeneralStamps,
        out: &mut Vec<u8>,
    ) -> Result<GeneralOutcome, Undecodable> {
        let (form, cursor) = Form::of(payload)?;
        let GeneralStamps { source, received } = *stamps;
        let begin = out.len();
        match source {
            Some(source) => {
                out.push(2);
                put_long(out, source);
            }
            None => out.push(0),
        }
        put_long(out, received);
        let content = out.len() - begin;
        out.reserve(payload.len());
        let limit = EXPANSION_BYTES + self.default_bytes + payload.len().saturating_mul(EXPANSION);
        let avro = Avro {
            limit: out.len().saturating_add(limit),
            bytes_max: limit,
            out,
            outcome: GeneralOutcome {
                content,
                ..GeneralOutcome::default()
            },
        };
        let avro = list::with_slots(|slots| match (form.big_endian, form.xcdr2) {
            (false, false) => {
                Walk::<false, XCDR1, _>::new(self, avro, slots).run(form.layout, cursor)
            }
            (false, true) => {
                Walk::<false, XCDR2, _>::new(self, avro, slots).run(form.layout, cursor)
            }
            (true, false) => {
                Walk::<true, XCDR1, _>::new(self, avro, slots).run(form.layout, cursor)
            }
            (true, true) => Walk::<true, XCDR2, _>::new(self, avro, slots).run(form.layout, cursor),
        })?;
        Ok(avro.outcome)
    }
}

struct Avro<'o> {
    out: &'o mut Vec<u8>,
    /// Length of `out` beyond which nothing is added that has no bytes in the payload.
    limit: usize,
    /// The same for messages.
    bytes_max: usize,
    outcome: GeneralOutcome,
}

impl Avro<'_> {
    fn within(&self, more: usize) -> Result<(), Cause> {
        if self.out.len() + more <= self.limit {
            return Ok(());
        }
        Err(Cause::Expansion(self.bytes_max))
    }
}

impl Sink for Avro<'_> {
    #[inline(always)]
    fn fixed<const BE: bool>(&mut self, fixed: &Fixed, source: &[u8]) -> Result<(), BadValue> {
        match &fixed.kind {
            Kind::Number(scalar) | Kind::Bitmask(scalar) => {
                convert::run::<BE>(*scalar, source, self.out)
            }
            Kind::Char => {
                source
                    .iter()
                    .for_each(|byte| put_char(self.out, char::from(*byte)));
                Ok(())
            }
            Kind::WideChar => wide_chars::<BE>(source, self.out),
            Kind::Quad => {
                for value in source.as_chunks::<16>().0 {
                    let value = u128::from_ne_bytes(native::<BE, 16>(value));
                    self.out.extend_from_slice(&value.to_le_bytes());
                }
                Ok(())
            }
            Kind::Enum(literals) => enums::<BE>(literals, fixed.bytes, source, self.out),
        }
    }

    #[inline(always)]
    fn text(&mut self, text: &[u8]) {
        let written = put_text(self.out, text);
        self.outcome.latin1_texts += u32::from(written.is_latin1);
    }

    fn wide<const BE: bool>(&mut self, source: &[u8]) -> Result<(), BadValue> {
        let units = || {
            let units = source.as_chunks::<2>().0.iter();
            units.map(|unit| u16::from_ne_bytes(native::<BE, 2>(unit)))
        };
        let (mut bytes, mut index) = (0, 0);
        for letter in char::decode_utf16(units()) {
            let letter = letter.map_err(|lone| BadValue {
                index,
                cause: Cause::Surrogate(lone.unpaired_surrogate()),
            })?;
            bytes += letter.len_utf8();
            index += letter.len_utf16();
        }
        put_long(self.out, bytes as i64);
        for letter in char::decode_utf16(units()).flatten() {
            let encoded = letter.encode_utf8(&mut [0; 4]).len();
            let mut buffer = [0; 4];
            letter.encode_utf8(&mut buffer);
            self.out.extend_from_slice(&buffer[..encoded]);
        }
        Ok(())
    }

    fn bytes(&mut self, source: &[u8], _is_array: bool) {
        put_long(self.out, source.len() as i64);
        self.out.extend_from_slice(source);
    }

    /// A block of all elements; none for no element.
    fn open(&mut self, count: usize, _is_array: bool) {
        if count > 0 {
            put_long(self.out, count as i64);
        }
    }

    fn close(&mut self, _count: usize) {
        self.out.push(0);
    }

    fn optional(&mut self, present: bool) {
        self.out.push(2 * u8::from(present));
    }

    fn unchosen(&mut self, cases: usize) -> Result<(), Cause> {
        self.within(cases)?;
        self.out.resize(self.out.len() + cases, 0);
        Ok(())
    }

    fn chosen(&mut self) {
        self.out.push(2);
    }

    fn root_again(&mut self) {
        self.out.extend_from_slice(&NO_TIMES);
    }

    fn absent(&mut self, member: &MemberPlan, is_case: bool) -> Result<(), Cause> {
        if member.optional && !is_case {
            self.within(1)?;
            self.out.push(0);
            return Ok(());
        }
        self.within(member.default.len())?;
        self.out.extend_from_slice(&member.default);
        // A struct without members is there, wherever that is.
        let is_absent = u32::from(!member.default.is_empty());
        self.outcome.defaulted_members = self.outcome.defaulted_members.saturating_add(is_absent);
        Ok(())
    }
}

#[inline(always)]
fn put_char(out: &mut Vec<u8>, letter: char) {
    let mut buffer = [0; 4];
    let text = letter.encode_utf8(&mut buffer);
    put_long(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

fn wide_chars<const BE: bool>(source: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    for (index, unit) in source.as_chunks::<2>().0.iter().enumerate() {
        let unit = u16::from_ne_bytes(native::<BE, 2>(unit));
        let letter = char::from_u32(unit.into()).ok_or(BadValue {
            index,
            cause: Cause::Surrogate(unit),
        })?;
        put_char(out, letter);
    }
    Ok(())
}

fn enums<const BE: bool>(
    literals: &[(u32, u32)],
    bytes: usize,
    source: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), BadValue> {
    for (index, value) in source.chunks_exact(bytes).enumerate() {
        let value = unsigned::<BE>(value);
        // Mostly the values are 0, 1, 2 and so on.
        let position = match literals.get(value as usize) {
            Some((literal, position)) if u64::from(*literal) == value => Some(*position),
            Some(_) | None => literals
                .binary_search_by_key(&value, |(literal, _)| (*literal).into())
                .ok()
                .map(|at| literals[at].1),
        };
        let position = position.ok_or_else(|| BadValue {
            index,
            cause: Cause::Literal(signed(value, bytes)),
        })?;
        put_long(out, position.into());
    }
    Ok(())
}

/// Of at most eight bytes.
#[inline(always)]
pub(super) fn unsigned<const BE: bool>(value: &[u8]) -> u64 {
    let add = |all, byte: &u8| all << 8 | u64::from(*byte);
    if BE {
        value.iter().fold(0, add)
    } else {
        value.iter().rev().fold(0, add)
    }
}

fn signed(value: u64, bytes: usize) -> i64 {
    let unused = 64 - 8 * bytes.clamp(1, 8);
    (value << unused).cast_signed() >> unused
}
