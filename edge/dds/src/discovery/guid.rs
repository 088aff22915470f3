//! Identities on the bus.

use std::fmt;

use crate::config::VendorId;

/// An RTPS GUID: 12 bytes of participant, 4 of entity.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

/// Low bits of the last byte: kind of entity.
const KIND_MASK: u8 = 0x3f;
const KIND_WRITER_WITH_KEY: u8 = 0x02;

impl Guid {
    /// Whether it is a writer of a keyed type.
    pub fn is_keyed_writer(&self) -> bool {
        self.0[15] & KIND_MASK == KIND_WRITER_WITH_KEY
    }

    /// Most vendors begin their GUIDs with their number; the highest one given out is below 32.
    pub fn vendor(&self) -> Option<VendorId> {
        match self.0 {
            [1, vendor @ 1..32, ..] => Some(VendorId(vendor)),
            _ => None,
        }
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if i > 0 && i % 4 == 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kind_and_vendor() {
        let mut guid = Guid([0; 16]);
        guid.0[..2].copy_from_slice(&[1, 15]);
        guid.0[15] = 0x02;
        assert!(guid.is_keyed_writer());
        assert_eq!(guid.vendor(), Some(VendorId::FAST_DDS));
        guid.0[15] = 0xc3;
        assert!(!guid.is_keyed_writer());
        guid.0[1] = 0;
        assert_eq!(guid.vendor(), None);
        assert_eq!(guid.to_string(), "01000000:00000000:00000000:000000c3");
    }
}
