//! Instance keys: 16 bytes that are equal for samples of one instance and differ for samples of two.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a [`KeyOf`] is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// A whole sample.
    Sample,
    /// The key members only, as a dispose or unregister carries them.
    KeyOnly,
}

/// Finds the key in a payload (encapsulation header included) and pushes its members. `false`: there is none to be found.
///
/// Called on the receive threads: it must be quick and must wait for nothing. Push the members as **big-endian CDR**; a key
/// of up to 16 bytes then equals the hash that other vendors send in place of a key. A panic counts as `false`.
pub type KeyOf = Arc<dyn Fn(&[u8], &mut KeyBuf) -> bool + Send + Sync>;

/// Whether a type has keys, and how they are found.
#[derive(Clone)]
pub enum Keying {
    /// The type has no key: one instance.
    Keyless,
    /// Keyed. Without a `KeyOf` (the type is not known) writers are asked for key hashes, which OpenSplice sends anyway; samples
    /// without one form one instance per writer.
    Keyed(Option<KeyOf>),
}

impl fmt::Debug for Keying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keyless => "Keyless",
            Self::Keyed(None) => "Keyed by hash",
            Self::Keyed(Some(_)) => "Keyed",
        })
    }
}

/// Where a [`KeyOf`] leaves what it found.
#[derive(Clone, Debug)]
pub struct KeyBuf {
    kind: PayloadKind,
    len: usize,
    head: [u8; 16],
    /// In use from the 17th byte on.
    long: Option<[DefaultHasher; 2]>,
}

impl KeyBuf {
    pub(crate) fn new(kind: PayloadKind) -> Self {
        Self {
            kind,
            len: 0,
            head: [0; 16],
            long: None,
        }
    }

    /// Whether the payload is a whole sample or the key alone.
    pub fn payload_kind(&self) -> PayloadKind {
        self.kind
    }

    /// Adds the next bytes of the key. A string goes in with its length, so that `"ab","c"` is not `"a","bc"`.
    pub fn push(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        match (&mut self.long, self.head.get_mut(self.len..end)) {
            (None, Some(place)) => place.copy_from_slice(bytes),
            (Some(hashers), _) => hashers.iter_mut().for_each(|hasher| hasher.write(bytes)),
            (None, None) => {
                let mut hashers = [DefaultHasher::new(), DefaultHasher::new()];
                // Two hashes of the same bytes must differ to be worth 128 bits.
                hashers[1].write_u8(0xa5);
                for hasher in &mut hashers {
                    hasher.write(&self.head[..self.len.min(16)]);
                    hasher.write(bytes);
                }
                self.long = Some(hashers);
            }
        }
        self.len = end;
    }

    pub(crate) fn finish(&self) -> InstanceKey {
        let Some([a, b]) = &self.long else {
            return InstanceKey {
                tag: Tag::Value,
                bytes: self.head,
            };
        };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&a.finish().to_be_bytes());
        bytes[8..].copy_from_slice(&b.finish().to_be_bytes());
        InstanceKey {
            tag: Tag::Hashed,
            bytes,
        }
    }
}

/// The key of an instance, within one process and one topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    tag: Tag,
    bytes: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
enum Tag {
    /// The one instance of a keyless type.
    Keyless,
    /// The key itself, or the key hash of the wire (which is the key itself up to 16 bytes).
    Value,
    /// Our hash of a longer key.
    Hashed,
    /// No key could be found: the GUID of the writer.
    Writer,
}

impl InstanceKey {
    pub(crate) const KEYLESS: Self = Self {
        tag: Tag::Keyless,
        bytes: [0; 16],
    };

    pub(crate) fn from_wire(hash: [u8; 16]) -> Self {
        Self {
            tag: Tag::Value,
            bytes: hash,
        }
    }

    pub(crate) fn from_writer(guid: [u8; 16]) -> Self {
        Self {
            tag: Tag::Writer,
            bytes: guid,
        }
    }

    /// Asks `key_of`; `None` where it found nothing or panicked.
    pub(crate) fn extract(key_of: &KeyOf, kind: PayloadKind, payload: &[u8]) -> Option<Self> {
        let mut key = KeyBuf::new(kind);
        let found = catch_unwind(AssertUnwindSafe(|| key_of(payload, &mut key))).unwrap_or(false);
        found.then(|| key.finish())
    }

    /// 16 bytes: the key in big-endian CDR, padded with zeros, where it is that short; else a hash of it.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.bytes
    }

    /// Spread over 32 bits for the library's hash table of instances.
    pub(crate) fn hash32(&self) -> u32 {
        let [a, b] = [&self.bytes[..8], &self.bytes[8..]].map(|half| {
            half.iter()
                .fold(0u64, |word, byte| word << 8 | u64::from(*byte))
        });
        let mixed = (a ^ b.rotate_left(29) ^ self.tag as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32
    }
}

impl fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:", self.tag)?;
        self.bytes
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[&[u8]]) -> InstanceKey {
        let mut buf = KeyBuf::new(PayloadKind::Sample);
        parts.iter().for_each(|part| buf.push(part));
        buf.finish()
    }

    #[test]
    fn short_keys_are_themselves_and_equal_the_wire_hash() {
        let mut hash = [0; 16];
        hash[3] = 7;
        assert_eq!(key(&[&7u32.to_be_bytes()]), InstanceKey::from_wire(hash));
        assert_eq!(key(&[&[9; 16]]), InstanceKey::from_wire([9; 16]));
        assert_ne!(key(&[&[9; 16]]), InstanceKey::from_writer([9; 16]));
    }

    #[test]
    fn long_keys_depend_on_every_byte_and_not_on_how_they_were_pushed() {
        let bytes: Vec<u8> = (0..40).collect();
        let whole = key(&[&bytes]);
        for cut in 0..40 {
            assert_eq!(key(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
            let mut other = bytes.clone();
            other[cut] ^= 1;
            assert_ne!(key(&[&other]), whole, "byte {cut}");
        }
        assert_eq!(key(&[&bytes[..10], &bytes[10..20], &bytes[20..]]), whole);
    }

    #[test]
    fn hash_spreads_small_integers() {
        let mut seen: Vec<u32> = (0u32..1000)
            .map(|i| key(&[&i.to_be_bytes()]).hash32())
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn a_panicking_key_function_finds_nothing() {
        let key_of: KeyOf = Arc::new(|_, _| panic!("broken plan"));
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let found = InstanceKey::extract(&key_of, PayloadKind::Sample, &[0; 8]);
        std::panic::set_hook(hook);
        assert_eq!(found, None);
    }
}
