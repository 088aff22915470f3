//! Random bytes read as choices. Where they are at their end every choice is the first, so fewer and
//! smaller bytes make simpler cases: that is what a failure shrinks to.

pub struct Choices<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn byte(&mut self) -> u8 {
        self.at += 1;
        self.bytes.get(self.at - 1).copied().unwrap_or(0)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) * limit / 256
    }

    /// `true` in `chance` of 256 cases.
    pub fn chance(&mut self, chance: u8) -> bool {
        255 - self.byte() < chance
    }

    pub fn word<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }
}
