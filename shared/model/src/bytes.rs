//! Reading and writing the project's own byte formats: little-endian, LEB128 varints, every length checked.

/// What is wrong with bytes that were to be read, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ByteError {
    #[error("ends at byte {at}, {needed} more needed")]
    Truncated { at: usize, needed: usize },
    #[error("{what} at byte {at} is not valid")]
    Invalid { what: &'static str, at: usize },
    #[error("{count} {what} at byte {at}, at most {max} are taken")]
    TooMany {
        what: &'static str,
        at: usize,
        count: u64,
        max: usize,
    },
    #[error("{left} bytes after the end, at byte {at}")]
    Trailing { at: usize, left: usize },
}

#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], ByteError> {
        let needed = length.saturating_sub(self.remaining());
        if needed > 0 {
            return Err(ByteError::Truncated {
                at: self.bytes.len(),
                needed,
            });
        }
        let end = self.at + length;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ByteError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub fn u8(&mut self) -> Result<u8, ByteError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn u16(&mut self) -> Result<u16, ByteError> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, ByteError> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, ByteError> {
        self.array().map(i32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, ByteError> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, ByteError> {
        self.array().map(i64::from_le_bytes)
    }

    pub fn varint(&mut self) -> Result<u64, ByteError> {
        let begin = self.at;
        let mut value = 0u64;
        for shift in (0..).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (shift == 63 && bits > 1) {
                return Err(ByteError::Invalid {
                    what: "varint",
                    at: begin,
                });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(value)
    }

    pub fn zigzag(&mut self) -> Result<i64, ByteError> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A varint that counts things, at most `max` of them.
    pub fn count(&mut self, what: &'static str, max: usize) -> Result<usize, ByteError> {
        let at = self.at;
        let count = self.varint()?;
        if count > max as u64 {
            Err(ByteError::TooMany {
                what,
                at,
                count,
                max,
            })
        } else {
            Ok(count as usize)
        }
    }

    /// A length as varint, then that many bytes.
    pub fn blob(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], ByteError> {
        let length = self.count(what, max)?;
        self.take(length)
    }

    pub fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, ByteError> {
        let at = self.at;
        std::str::from_utf8(self.blob(what, max)?).map_err(|_| ByteError::Invalid { what, at })
    }

    /// An error about the value just read.
    pub fn invalid(&self, what: &'static str) -> ByteError {
        ByteError::Invalid { what, at: self.at }
    }

    pub fn finish(self) -> Result<(), ByteError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(ByteError::Trailing { at: self.at, left }),
        }
    }
}

#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    #[inline]
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    #[inline]
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.raw(&value.to_le_bytes());
    }

    #[inline]
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_le_bytes());
    }

    #[inline]
    pub fn varint(&mut self, value: u64) {
        push_varint(&mut self.bytes, value);
    }

    #[inline]
    pub fn zigzag(&mut self, value: i64) {
        push_varint(&mut self.bytes, zigzag(value));
    }

    pub fn blob(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.blob(text.as_bytes());
    }
}

pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_read_back(value: u64, signed: i64) {
            let mut out = Writer::new();
            out.varint(value);
            out.zigzag(signed);
            let bytes = out.into_bytes();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint().unwrap(), value);
            prop_assert_eq!(reader.zigzag().unwrap(), signed);
            prop_assert!(reader.finish().is_ok());
        }
    }

    #[test]
    fn limits_are_named() {
        assert_eq!(
            Reader::new(&[1, 2]).u32(),
            Err(ByteError::Truncated { at: 2, needed: 2 })
        );
        assert_eq!(
            Reader::new(&[0xff; 11]).varint(),
            Err(ByteError::Invalid {
                what: "varint",
                at: 0
            })
        );
        let mut many = Writer::new();
        many.varint(1000);
        let error = Reader::new(many.as_bytes()).blob("names", 10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1000 names at byte 0, at most 10 are taken"
        );
    }
}
