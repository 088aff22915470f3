//! XCDR2, little-endian: a place in the bytes, and the end that it may not pass (§ 7.4.3.5).

use super::error::{Part, XtypesError};
use super::{BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};

/// Alignment counts from the begin of the bytes, also inside of what has a length of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    part: Part,
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(part: Part, bytes: &'a [u8]) -> Result<Self, XtypesError> {
        if bytes.len() > BYTES_MAX {
            return Err(XtypesError::TooLarge {
                part,
                bytes: bytes.len(),
                limit: BYTES_MAX,
            });
        }
        let end = bytes.len();
        Ok(Self {
            part,
            bytes,
            at: 0,
            end,
        })
    }

    pub(super) fn part(&self) -> Part {
        self.part
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.end
    }

    /// What is left, as it is.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..self.end).unwrap_or_default()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], XtypesError> {
        let left = self.end.saturating_sub(self.at);
        let taken = self
            .at
            .checked_add(count)
            .filter(|_| count <= left)
            .and_then(|end| self.bytes.get(self.at..end));
        let Some(taken) = taken else {
            return Err(XtypesError::Truncated {
                part: self.part,
                offset: self.at,
                needed: count,
                left,
            });
        };
        self.at += count;
        Ok(taken)
    }

    /// A number of `N` bytes at a multiple of `N`.
    fn number<const N: usize>(&mut self) -> Result<[u8; N], XtypesError> {
        let padding = self.at.next_multiple_of(N) - self.at;
        self.take(padding)?;
        self.array()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], XtypesError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, XtypesError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, XtypesError> {
        self.number().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, XtypesError> {
        self.number().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, XtypesError> {
        self.number().map(i32::from_le_bytes)
    }

    /// What is behind a DHEADER. The place moves to the end of it, so what is not read is skipped:
    /// members that a later version of the specification appends.
    pub(super) fn delimited(&mut self) -> Result<Self, XtypesError> {
        let length = self.u32()?;
        self.within(length as usize)
    }

    /// The next `length` bytes, which are passed.
    pub(super) fn within(&mut self, length: usize) -> Result<Self, XtypesError> {
        let mut inner = *self;
        self.take(length)?;
        inner.end = self.at;
        Ok(inner)
    }

    /// Whether an `@optional` member of a type that is not mutable is there.
    pub(super) fn is_present(&mut self) -> Result<bool, XtypesError> {
        let offset = self.at;
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(XtypesError::BadValue {
                part: self.part,
                offset,
                what: "the presence of an optional member",
                value: value.into(),
                expected: "0 or 1",
            }),
        }
    }

    /// The number of elements of a sequence.
    pub(super) fn count(&mut self, what: &'static str, limit: usize) -> Result<usize, XtypesError> {
        let count = self.u32()?;
        if count as usize > limit {
            return Err(self.too_many(4, what, count.into(), limit as u64));
        }
        Ok(count as usize)
    }

    /// An error about the number in the last `back` bytes.
    pub(super) fn too_many(
        &self,
        back: usize,
        what: &'static str,
        value: u64,
        limit: u64,
    ) -> XtypesError {
        XtypesError::TooMany {
            part: self.part,
            offset: self.at.saturating_sub(back),
            what,
            value,
            limit,
        }
    }

    /// The bytes of a string without its zero, and where they begin.
    fn string(
        &mut self,
        what: &'static str,
        limit: usize,
    ) -> Result<(usize, &'a [u8]), XtypesError> {
        let length = self.u32()? as usize;
        if length > limit + 1 {
            return Err(self.too_many(4, what, length as u64, limit as u64));
        }
        let offset = self.at;
        match self.take(length)?.split_last() {
            Some((0, text)) => Ok((offset, text)),
            Some(_) | None => Err(XtypesError::BadText {
                part: self.part,
                offset,
                what: "a string",
                problem: "has no zero at its end",
            }),
        }
    }

    /// A name of a type, whose parts are joined by `::`.
    pub(super) fn type_name(&mut self) -> Result<&'a str, XtypesError> {
        let what = "bytes of the name of a type";
        let (offset, bytes) = self.string(what, NAME_BYTES_MAX)?;
        let name = std::str::from_utf8(bytes).unwrap_or_default();
        if name.split("::").all(is_identifier) {
            return Ok(name);
        }
        Err(self.bad_name(offset, "the name of a type"))
    }

    pub(super) fn member_name(&mut self) -> Result<&'a str, XtypesError> {
        let what = "bytes of the name of a member";
        let (offset, bytes) = self.string(what, NAME_BYTES_MAX)?;
        let name = std::str::from_utf8(bytes).unwrap_or_default();
        if is_identifier(name) {
            return Ok(name);
        }
        Err(self.bad_name(offset, "the name of a member"))
    }

    fn bad_name(&self, offset: usize, what: &'static str) -> XtypesError {
        XtypesError::BadText {
            part: self.part,
            offset,
            what,
            problem: "is not made of IDL identifiers",
        }
    }

    /// What people wrote. Bytes that are not UTF-8 are taken as ISO-8859-1, as in IDL files.
    pub(super) fn text(&mut self) -> Result<String, XtypesError> {
        let (_, bytes) = self.string("bytes of text", TEXT_BYTES_MAX)?;
        Ok(std::str::from_utf8(bytes).map_or_else(
            |_| bytes.iter().map(|&byte| char::from(byte)).collect(),
            str::to_owned,
        ))
    }
}

fn is_identifier(name: &str) -> bool {
    let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    name.chars().all(is_word) && name.starts_with(|c: char| !c.is_ascii_digit())
}
