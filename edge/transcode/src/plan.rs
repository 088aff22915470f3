//! The plan of a type, and how it runs over a payload.

use std::ops::Range;
use std::sync::Arc;

use efd_shared_types::sal::{SalField, SalTopic, Scalar};

use crate::cdr::{Cursor, Form, Layout, XCDR1, XCDR2};
use crate::convert::{self, VARINT_BYTES_MAX, put_long, put_text};
use crate::error::{Cause, Undecodable};
use crate::mutable;
use crate::stamps::Stamps;

/// `private_efdStamp` and `private_kafkaStamp`, two doubles.
const STAMP_BYTES: usize = 16;

/// What is done with the samples of one type. Immutable; share it between threads.
#[derive(Debug)]
pub struct Plan {
    /// Neighbours of one kind are one step: a hundred doubles are one copy.
    steps: Vec<Step>,
    /// The same with one step per field, for forms where each member has a header.
    pub(crate) fields: Vec<Step>,
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) ids: Vec<u32>,
    /// Positions in `fields`, ascending.
    pub(crate) keys: Vec<usize>,
    /// Bytes of a datum that have no counterpart in the payload, at most.
    overhead: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub action: Action,
    pub scalar: Scalar,
    /// Position of the (first) field.
    field: usize,
    /// Values: array elements, or fields that were merged.
    pub count: usize,
    /// Whether it is one array; else the values are fields.
    pub is_array: bool,
}

/// A field that means something to the pipeline is a step of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Copy,
    SndStamp,
    RcvStamp,
    SeqNum,
    Origin,
    Index,
    Identity,
}

/// What the pipeline needs to know of a sample, so that nobody has to read it twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// TAI seconds; whatever the publisher put there, NaN and 0 included.
    pub snd_stamp: f64,
    pub seq_num: i64,
    /// 0 for the older generation's types without it.
    pub origin: i64,
    /// `salIndex`, or `<Component>ID` of the older generation.
    pub sal_index: Option<i32>,
    /// Where in `out` the text of `private_identity` is; empty for types without it.
    pub identity: Range<usize>,
    /// Texts that were not UTF-8 and were taken as ISO-8859-1.
    pub latin1_texts: u32,
    /// Floating-point values, elements of arrays counted singly; stamps are none.
    pub floats: u32,
    /// Those of them that are NaN or infinite.
    pub not_finite: u32,
}

impl Plan {
    pub fn compile(topic: &SalTopic) -> Self {
        let fields: Vec<Step> = topic
            .fields
            .iter()
            .enumerate()
            .map(|it| Step::of(topic, it))
            .collect();
        let mut steps: Vec<Step> = Vec::new();
        for step in &fields {
            match steps.last_mut() {
                Some(last) if last.merges_with(step) => last.count += 1,
                _ => steps.push(*step),
            }
        }
        // An array has a count before and a zero after it; a text's length takes at most one byte
        // more than in CDR.
        let overhead = STAMP_BYTES + fields.len() * (VARINT_BYTES_MAX + 1);
        Self {
            steps,
            fields,
            names: topic
                .fields
                .iter()
                .map(|field| Arc::clone(&field.name))
                .collect(),
            ids: topic.fields.iter().map(|field| field.id).collect(),
            keys: topic.keys.clone(),
            overhead,
        }
    }

    /// Appends the Avro datum of `payload` to `out`. On error `out` is as before.
    pub fn transcode(
        &self,
        payload: &[u8],
        stamps: &Stamps<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Outcome, Undecodable> {
        let start = out.len();
        let result = self.append(payload, stamps, out);
        match &result {
            Ok(outcome) => {
                let offset = f64::from(stamps.leaps.offset_at(outcome.snd_stamp));
                let utc = outcome.snd_stamp - offset;
                out[start..start + 8].copy_from_slice(&utc.to_le_bytes());
            }
            Err(_) => out.truncate(start),
        }
        result
    }

    fn append(
        &self,
        payload: &[u8],
        stamps: &Stamps<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Outcome, Undecodable> {
        let (form, cursor) = Form::of(payload)?;
        // No value takes more than twice its CDR bytes.
        out.reserve(self.overhead + 2 * payload.len());
        // The first of the two is known when `private_sndStamp` is.
        out.extend_from_slice(&[0; STAMP_BYTES / 2]);
        out.extend_from_slice(&stamps.encoded_tai.to_le_bytes());
        let mut run = Run {
            plan: self,
            out,
            outcome: Outcome::default(),
            stamps,
        };
        match (form.big_endian, form.xcdr2) {
            (false, false) => run.body::<false, XCDR1>(form.layout, cursor)?,
            (false, true) => run.body::<false, XCDR2>(form.layout, cursor)?,
            (true, false) => run.body::<true, XCDR1>(form.layout, cursor)?,
            (true, true) => run.body::<true, XCDR2>(form.layout, cursor)?,
        }
        Ok(run.outcome)
    }

    pub(crate) fn at<T>(
        &self,
        result: Result<T, Cause>,
        offset: usize,
        field: Option<usize>,
    ) -> Result<T, Undecodable> {
        result.map_err(|cause| {
            let field = field.and_then(|field| self.names.get(field).cloned());
            Undecodable {
                offset,
                field,
                cause,
            }
        })
    }
}

impl Step {
    fn of(topic: &SalTopic, (position, field): (usize, &SalField)) -> Self {
        let private = &topic.private;
        let action = if position == private.snd_stamp {
            Action::SndStamp
        } else if position == private.rcv_stamp {
            Action::RcvStamp
        } else if position == private.seq_num {
            Action::SeqNum
        } else if Some(position) == private.origin {
            Action::Origin
        } else if Some(position) == private.index {
            Action::Index
        } else if Some(position) == private.identity {
            Action::Identity
        } else {
            Action::Copy
        };
        Self {
            action,
            scalar: field.scalar,
            field: position,
            count: field.count.unwrap_or(1) as usize,
            is_array: field.count.is_some(),
        }
    }

    fn merges_with(&self, next: &Self) -> bool {
        self.action == Action::Copy
            && next.action == Action::Copy
            && !self.is_array
            && !next.is_array
            && self.scalar == next.scalar
            && self.scalar != Scalar::Text
    }

    /// The field that holds the value of this index.
    fn field_of(&self, index: usize) -> usize {
        if self.is_array {
            self.field
        } else {
            self.field + index.min(self.count - 1)
        }
    }
}

/// One payload on its way.
struct Run<'a> {
    plan: &'a Plan,
    out: &'a mut Vec<u8>,
    outcome: Outcome,
    stamps: &'a Stamps<'a>,
}

impl Run<'_> {
    fn body<const BE: bool, const ALIGN: usize>(
        &mut self,
        layout: Layout,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Undecodable> {
        let plan = self.plan;
        match layout {
            Layout::Plain => {}
            Layout::Delimited => {
                let inner = mutable::delimited::<BE>(&mut cursor);
                cursor = plan.at(inner, cursor.offset(), None)?;
            }
            Layout::Mutable => {
                let fields = plan.fields.iter().zip(&plan.ids);
                let mut members = mutable::Members::<BE, ALIGN>::open(plan, cursor)?;
                for (index, (step, &id)) in fields.enumerate() {
                    let mut value = members.find(plan, index, id)?;
                    self.step::<BE, ALIGN>(step, &mut value)?;
                    plan.at(value.finish(), value.offset(), Some(index))?;
                }
                return Ok(());
            }
        }
        for step in &plan.steps {
            self.step::<BE, ALIGN>(step, &mut cursor)?;
        }
        plan.at(cursor.finish(), cursor.offset(), None)
    }

    #[inline(always)]
    fn step<const BE: bool, const ALIGN: usize>(
        &mut self,
        step: &Step,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Undecodable> {
        match (step.action, step.scalar) {
            (Action::Identity, _) => {
                let before = self.texts::<BE, ALIGN>(step, cursor)?;
                self.outcome.identity = before..self.out.len();
            }
            (_, Scalar::Text) => {
                self.texts::<BE, ALIGN>(step, cursor)?;
            }
            (Action::RcvStamp, _) => {
                self.values::<BE, ALIGN>(step, cursor)?;
                self.out
                    .extend_from_slice(&self.stamps.received_tai.to_le_bytes());
            }
            (Action::SndStamp, _) => {
                let value = self.values::<BE, ALIGN>(step, cursor)?;
                self.convert::<BE>(step, cursor, value)?;
                self.outcome.snd_stamp = f64::from_ne_bytes(crate::cdr::native::<BE, 8>(value));
            }
            (Action::SeqNum, _) => self.outcome.seq_num = self.long::<BE, ALIGN>(step, cursor)?,
            (Action::Origin, _) => self.outcome.origin = self.long::<BE, ALIGN>(step, cursor)?,
            (Action::Index, _) => {
                let index = self.long::<BE, ALIGN>(step, cursor)?;
                self.outcome.sal_index = i32::try_from(index).ok();
            }
            (Action::Copy, _) => {
                let values = self.values::<BE, ALIGN>(step, cursor)?;
                if step.is_array {
                    put_long(self.out, step.count as i64);
                }
                self.convert::<BE>(step, cursor, values)?;
                if step.is_array {
                    self.out.push(0);
                }
                if matches!(step.scalar, Scalar::F32 | Scalar::F64) {
                    self.outcome.floats += step.count as u32;
                    self.outcome.not_finite += convert::not_finite::<BE>(step.scalar, values);
                }
            }
        }
        Ok(())
    }

    /// The bytes of all values of a step.
    #[inline(always)]
    fn values<'b, const BE: bool, const ALIGN: usize>(
        &self,
        step: &Step,
        cursor: &mut Cursor<'b>,
    ) -> Result<&'b [u8], Undecodable> {
        let size = step.scalar.size().unwrap_or(1);
        cursor
            .take::<ALIGN>(size, size * step.count)
            .map_err(|cause| {
                let left = cursor.body.len().saturating_sub(cursor.at);
                let whole = left / size;
                let (offset, field) = (cursor.offset() + whole * size, step.field_of(whole));
                let cause = if matches!(cause, Cause::Truncated { .. }) {
                    Cause::Truncated {
                        need: size,
                        left: left % size,
                    }
                } else {
                    cause
                };
                Undecodable {
                    offset,
                    field: self.plan.names.get(field).cloned(),
                    cause,
                }
            })
    }

    #[inline(always)]
    fn convert<const BE: bool>(
        &mut self,
        step: &Step,
        cursor: &Cursor<'_>,
        values: &[u8],
    ) -> Result<(), Undecodable> {
        convert::run::<BE>(step.scalar, values, self.out).map_err(|bad| {
            let size = step.scalar.size().unwrap_or(1);
            let offset = cursor.offset() - values.len() + bad.index * size;
            let field = self.plan.names.get(step.field_of(bad.index)).cloned();
            Undecodable {
                offset,
                field,
                cause: bad.cause,
            }
        })
    }

    /// One integer, which the pipeline wants to know too.
    #[inline(always)]
    fn long<const BE: bool, const ALIGN: usize>(
        &mut self,
        step: &Step,
        cursor: &mut Cursor<'_>,
    ) -> Result<i64, Undecodable> {
        let value = self.values::<BE, ALIGN>(step, cursor)?;
        let start = self.out.len();
        self.convert::<BE>(step, cursor, value)?;
        let encoded = self.out[start..].iter().rev();
        let zigzag = encoded.fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// Returns where in `out` the bytes of the last text begin.
    #[inline(always)]
    fn texts<const BE: bool, const ALIGN: usize>(
        &mut self,
        step: &Step,
        cursor: &mut Cursor<'_>,
    ) -> Result<usize, Undecodable> {
        let (plan, field) = (self.plan, Some(step.field));
        if step.is_array {
            put_long(self.out, step.count as i64);
            if ALIGN == XCDR2 {
                // The length of the whole array, which its texts tell as well.
                plan.at(cursor.take_u32::<BE>(), cursor.offset(), field)?;
            }
        }
        let mut text_start = self.out.len();
        for _ in 0..step.count {
            let text = cursor.take_text::<BE>();
            let text = plan.at(text, cursor.offset(), field)?;
            let written = put_text(self.out, text);
            text_start = written.start;
            self.outcome.latin1_texts += u32::from(written.is_latin1);
        }
        if step.is_array {
            self.out.push(0);
        }
        Ok(text_start)
    }
}
