//! Reading CDR: the encapsulation header, alignment, bounds.

use crate::error::{Cause, Undecodable};

/// Representation (2 bytes, big-endian) and options (2 bytes, tolerated whatever they are).
pub const HEADER_BYTES: usize = 4;

/// RTPS pads payloads to a multiple of four; OpenSplice does not say by how much.
pub const PADDING_MAX: usize = 3;

/// Alignment of 8-byte values in XCDR1.
pub(crate) const XCDR1: usize = 8;
/// Alignment of 8-byte values in XCDR2.
pub(crate) const XCDR2: usize = 4;

/// How the bytes behind the header are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub big_endian: bool,
    pub xcdr2: bool,
    pub layout: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Plain,
    /// A length before the members.
    Delimited,
    /// A header with id and length before each member.
    Mutable,
}

impl Form {
    /// The form, and the bytes behind the header.
    pub(crate) fn of(payload: &[u8]) -> Result<(Self, Cursor<'_>), Undecodable> {
        let fail = |cause| Undecodable {
            offset: 0,
            field: None,
            cause,
        };
        let Some((header, body)) = payload.split_first_chunk::<HEADER_BYTES>() else {
            return Err(fail(Cause::Truncated {
                need: HEADER_BYTES,
                left: payload.len(),
            }));
        };
        let id = u16::from_be_bytes([header[0], header[1]]);
        let (xcdr2, layout) = match id & !1 {
            0x0000 => (false, Layout::Plain),
            0x0002 => (false, Layout::Mutable),
            0x0006 => (true, Layout::Plain),
            0x0008 => (true, Layout::Delimited),
            0x000a => (true, Layout::Mutable),
            _ => return Err(fail(Cause::Encapsulation(id))),
        };
        let form = Self {
            big_endian: id & 1 == 0,
            xcdr2,
            layout,
        };
        Ok((
            form,
            Cursor {
                body,
                at: 0,
                base: HEADER_BYTES,
            },
        ))
    }
}

/// A place in a body. Alignment counts from the body's first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pub body: &'a [u8],
    /// May be beyond the end of `body`, never by more than an alignment.
    pub at: usize,
    /// Where `body` begins in the payload.
    pub base: usize,
}

impl<'a> Cursor<'a> {
    /// Place in the payload.
    pub(crate) fn offset(&self) -> usize {
        self.base + self.at
    }

    /// `len` bytes at the next multiple of `align`; `ALIGN` is the most that anything is aligned.
    #[inline(always)]
    pub(crate) fn take<const ALIGN: usize>(
        &mut self,
        align: usize,
        len: usize,
    ) -> Result<&'a [u8], Cause> {
        let mask = align.min(ALIGN) - 1;
        let start = (self.at + mask) & !mask;
        self.at = start;
        let rest = self.body.get(start..).unwrap_or_default();
        let taken = rest.get(..len).ok_or(Cause::Truncated {
            need: len,
            left: rest.len(),
        })?;
        self.at = start + len;
        Ok(taken)
    }

    #[inline(always)]
    pub(crate) fn take_u32<const BE: bool>(&mut self) -> Result<u32, Cause> {
        let bytes = self.take::<4>(4, 4)?;
        Ok(u32::from_ne_bytes(native::<BE, 4>(bytes)))
    }

    pub(crate) fn take_u16<const BE: bool>(&mut self) -> Result<u16, Cause> {
        let bytes = self.take::<4>(2, 2)?;
        Ok(u16::from_ne_bytes(native::<BE, 2>(bytes)))
    }

    /// Text without its terminator. Length 0 is not CDR, but some write it for an empty text.
    #[inline(always)]
    pub(crate) fn take_text<const BE: bool>(&mut self) -> Result<&'a [u8], Cause> {
        let len = self.take_u32::<BE>()? as usize;
        let text = self.take::<1>(1, len)?;
        Ok(text.strip_suffix(&[0]).unwrap_or(text))
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.body.len() <= self.at
    }

    /// Bytes that have not been taken.
    pub(crate) fn left(&self) -> usize {
        self.body.len().saturating_sub(self.at)
    }

    /// At most padding may follow.
    pub(crate) fn finish(&self) -> Result<(), Cause> {
        match self.body.len().saturating_sub(self.at) {
            0..=PADDING_MAX => Ok(()),
            trailing => Err(Cause::Trailing(trailing)),
        }
    }

    /// The bytes from here to `end`, in the same alignment.
    pub(crate) fn until(self, end: usize) -> Result<Self, Cause> {
        let need = end.saturating_sub(self.at);
        let left = self.body.len().saturating_sub(self.at);
        let body = self
            .body
            .get(..end)
            .ok_or(Cause::Truncated { need, left })?;
        Ok(Self { body, ..self })
    }
}

/// The value's bytes in the order of this machine. `bytes` is `N` long.
#[inline(always)]
pub(crate) fn native<const BE: bool, const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut value: [u8; N] = bytes.try_into().unwrap_or([0; N]);
    if BE != cfg!(target_endian = "big") {
        value.reverse();
    }
    value
}
