//! Reads the primitive values of a datum, one after the other.

use crate::decode::Fault;
use crate::schema::EnumType;

/// Items without bytes (records without fields) of one nested value: nothing else bounds their number.
pub(crate) const EMPTY_ITEMS_MAX: usize = 65_536;

/// Stands behind the last value read; on a fault, before the one that could not be.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    datum: &'a [u8],
    at: usize,
}

/// A block of an array or a map whose items come.
pub(crate) struct Block {
    pub(crate) count: usize,
    begin: usize,
    items: usize,
    /// Stated; of a block with a negative count.
    bytes: Option<i64>,
}

impl<'a> Cursor<'a> {
    pub fn new(datum: &'a [u8]) -> Self {
        Self { datum, at: 0 }
    }

    /// Bytes before it.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub fn left(&self) -> usize {
        self.datum.len() - self.at
    }

    /// From `begin` to where it stands.
    pub(crate) fn since(&self, begin: usize) -> &'a [u8] {
        &self.datum[begin..self.at]
    }

    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        match self.datum[self.at..].get(..length) {
            Some(taken) => {
                self.at += length;
                Ok(taken)
            }
            None => Err(Fault::Truncated {
                needed: length - self.left(),
            }),
        }
    }

    #[inline]
    pub fn boolean(&mut self) -> Result<bool, Fault> {
        match self.datum.get(self.at) {
            Some(&byte @ (0 | 1)) => {
                self.at += 1;
                Ok(byte == 1)
            }
            Some(&byte) => Err(Fault::Boolean(byte)),
            None => Err(Fault::Truncated { needed: 1 }),
        }
    }

    #[inline]
    pub fn long(&mut self) -> Result<i64, Fault> {
        let raw = match self.datum.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                u64::from(byte)
            }
            Some(_) | None => self.long_varint()?,
        };
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0u64;
        for (index, &byte) in self.datum[self.at..].iter().take(10).enumerate() {
            // The tenth byte has room for the 64th bit only.
            if index == 9 && byte > 1 {
                return Err(Fault::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(Fault::Truncated { needed: 1 })
    }

    #[inline]
    pub fn double(&mut self) -> Result<f64, Fault> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(f64::from_le_bytes(bytes))
    }

    pub fn blob(&mut self) -> Result<&'a [u8], Fault> {
        let begin = self.at;
        let length = self.long()?;
        let taken = match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(Fault::Length(length)),
        };
        if taken.is_err() {
            self.at = begin;
        }
        taken
    }

    #[inline]
    pub fn text(&mut self) -> Result<&'a str, Fault> {
        let begin = self.at;
        std::str::from_utf8(self.blob()?).map_err(|_| {
            self.at = begin;
            Fault::Utf8
        })
    }

    /// The position of a symbol among those of its enum, and its text.
    pub fn symbol<'t>(&mut self, of: &'t EnumType) -> Result<(usize, &'t str), Fault> {
        let begin = self.at;
        let position = self.long()?;
        let known = usize::try_from(position).ok();
        let known = known.and_then(|known| Some((known, of.symbols.get(known)?.as_str())));
        known.ok_or_else(|| {
            self.at = begin;
            Fault::Symbol {
                position,
                count: of.symbols.len(),
            }
        })
    }

    /// Of what may be null: whether a value follows.
    pub fn is_present(&mut self) -> Result<bool, Fault> {
        let begin = self.at;
        match self.long()? {
            0 => Ok(false),
            1 => Ok(true),
            branch => {
                self.at = begin;
                Err(Fault::Branch(branch))
            }
        }
    }

    /// `None` behind the last block. `count_max` is told how many bytes are left.
    #[inline]
    pub(crate) fn begin_block(
        &mut self,
        count_max: impl FnOnce(usize) -> usize,
    ) -> Result<Option<Block>, Fault> {
        let begin = self.at;
        let stated = self.long()?;
        if stated == 0 {
            return Ok(None);
        }
        let bytes = if stated < 0 { Some(self.long()?) } else { None };
        let left = self.left();
        let max = count_max(left);
        match usize::try_from(stated.unsigned_abs()) {
            Ok(count) if count <= max => Ok(Some(Block {
                count,
                begin,
                items: self.at,
                bytes,
            })),
            Ok(_) | Err(_) => {
                self.at = begin;
                Err(Fault::Count {
                    count: stated,
                    left,
                })
            }
        }
    }

    #[inline]
    pub(crate) fn end_block(&mut self, block: &Block) -> Result<(), Fault> {
        let found = self.at - block.items;
        let is_wrong = |stated: &i64| usize::try_from(*stated) != Ok(found);
        match block.bytes.filter(is_wrong) {
            None => Ok(()),
            Some(stated) => {
                self.at = block.begin;
                Err(Fault::BlockBytes { stated, found })
            }
        }
    }

    /// Items of the next block of an array or a map, 0 behind the last. For bytes that a decoder has checked.
    pub fn items(&mut self) -> Result<usize, Fault> {
        let block = self.begin_block(|left| left.saturating_add(EMPTY_ITEMS_MAX))?;
        Ok(block.map_or(0, |block| block.count))
    }
}
