//! The key of a sample, for telling DDS instances apart.

use efd_shared_types::sal::Scalar;

use crate::cdr::{Cursor, Form, Layout, XCDR1, XCDR2};
use crate::convert::all_or_nothing;
use crate::error::Undecodable;
use crate::mutable::{Members, delimited};
use crate::plan::{Plan, Step};

/// What a payload holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOf {
    /// All members.
    Sample,
    /// The key members only, as with a dispose or an unregister.
    Key,
}

impl Plan {
    /// Whether the type has several instances.
    pub fn is_keyed(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Appends the key members in their order: big-endian, without padding, text with its length
    /// (terminator counted) and terminator. Equal keys give equal bytes in every encoding; for
    /// 32-bit keys, as SAL's are, these are the bytes of the RTPS key hash before its padding.
    /// Nothing for a keyless type. On error `out` is as before.
    pub fn key_bytes(
        &self,
        payload: &[u8],
        holds: KeyOf,
        out: &mut Vec<u8>,
    ) -> Result<(), Undecodable> {
        if !self.is_keyed() {
            return Ok(());
        }
        let (form, cursor) = Form::of(payload)?;
        all_or_nothing(out, |out| match (form.big_endian, form.xcdr2) {
            (false, false) => self.keys::<false, XCDR1>(form.layout, holds, cursor, out),
            (false, true) => self.keys::<false, XCDR2>(form.layout, holds, cursor, out),
            (true, false) => self.keys::<true, XCDR1>(form.layout, holds, cursor, out),
            (true, true) => self.keys::<true, XCDR2>(form.layout, holds, cursor, out),
        })
    }

    fn keys<const BE: bool, const ALIGN: usize>(
        &self,
        layout: Layout,
        holds: KeyOf,
        mut cursor: Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Undecodable> {
        match layout {
            Layout::Plain => {}
            Layout::Delimited => {
                let inner = delimited::<BE>(&mut cursor);
                cursor = self.at(inner, cursor.offset(), None)?;
            }
            Layout::Mutable => {
                let mut members = Members::<BE, ALIGN>::open(self, cursor)?;
                for &index in &self.keys {
                    let mut value = members.find(self, index, self.ids[index])?;
                    self.read::<BE, ALIGN>(index, &mut value, Some(out))?;
                }
                return Ok(());
            }
        }
        let last = self.keys.last().copied().unwrap_or_default();
        for index in 0..=last {
            let is_key = self.keys.binary_search(&index).is_ok();
            if is_key {
                self.read::<BE, ALIGN>(index, &mut cursor, Some(out))?;
            } else if holds == KeyOf::Sample {
                self.read::<BE, ALIGN>(index, &mut cursor, None)?;
            }
        }
        Ok(())
    }

    /// Passes over a field, and notes its bytes where `out` is given.
    fn read<const BE: bool, const ALIGN: usize>(
        &self,
        index: usize,
        cursor: &mut Cursor<'_>,
        mut out: Option<&mut Vec<u8>>,
    ) -> Result<(), Undecodable> {
        let Step {
            scalar,
            count,
            is_array,
            ..
        } = self.fields[index];
        if let Some(size) = scalar.size() {
            let values = cursor.take::<ALIGN>(size, size * count);
            let values = self.at(values, cursor.offset(), Some(index))?;
            for value in values.chunks_exact(size) {
                match &mut out {
                    Some(out) if BE => out.extend_from_slice(value),
                    Some(out) => out.extend(value.iter().rev()),
                    None => break,
                }
            }
            return Ok(());
        }
        debug_assert_eq!(scalar, Scalar::Text, "all else has a size");
        if is_array && ALIGN == XCDR2 {
            self.at(cursor.take_u32::<BE>(), cursor.offset(), Some(index))?;
        }
        for _ in 0..count {
            let text = cursor.take_text::<BE>();
            let text = self.at(text, cursor.offset(), Some(index))?;
            if let Some(out) = &mut out {
                // A text of a payload is far below 4 GiB.
                out.extend_from_slice(&(text.len() as u32).saturating_add(1).to_be_bytes());
                out.extend_from_slice(text);
                out.push(0);
            }
        }
        Ok(())
    }
}
