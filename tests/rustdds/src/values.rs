//! Values that are easy to get wrong.

/// Xorshift: the same values for the same seed, wherever it runs.
#[derive(Debug)]
pub(crate) struct Random {
    state: u64,
    /// Whether characters may be such of ISO-8859-1 that are no ASCII.
    latin1: bool,
}

const TEXTS: [&str; 6] = [
    "",
    "ok",
    "naïve café",
    "日本語 ✓",
    "tab\tand \"quote\"\\",
    "0123456789012345678901234567890123456789",
];

impl Random {
    pub(crate) fn new(seed: u64, latin1: bool) -> Self {
        let state = 0x9e37_79b9_7f4a_7c15 ^ seed;
        Self { state, latin1 }
    }

    pub(crate) fn any(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.any() >> 33) as usize % count
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    pub(crate) fn i64(&mut self) -> i64 {
        let any = self.any() as i64;
        self.one_of(&[0, i64::MIN, i64::MAX, any])
    }

    pub(crate) fn i32(&mut self) -> i32 {
        let any = self.any() as i32;
        self.one_of(&[0, i32::MIN, i32::MAX, any])
    }

    pub(crate) fn i16(&mut self) -> i16 {
        let any = self.any() as i16;
        self.one_of(&[0, i16::MIN, i16::MAX, any])
    }

    pub(crate) fn u8(&mut self) -> u8 {
        let any = self.any() as u8;
        self.one_of(&[0, u8::MAX, any])
    }

    pub(crate) fn letter(&mut self) -> u8 {
        let plain = self.one_of(&[1, b' ', b'A', b'~', 127]);
        if self.latin1 {
            return self.u8().max(plain);
        }
        plain
    }

    pub(crate) fn f64(&mut self) -> f64 {
        let any = self.any() as i64 as f64 * 1e-12;
        self.one_of(&[
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            f64::from_bits(1),
            -f64::MIN_POSITIVE / 2.0,
            f64::MAX,
            any,
        ])
    }

    pub(crate) fn f32(&mut self) -> f32 {
        let any = self.any() as i64 as f32 * 1e-12;
        self.one_of(&[
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            -0.0,
            f32::from_bits(1),
            f32::MAX,
            any,
        ])
    }

    pub(crate) fn text(&mut self, bytes_max: usize) -> String {
        loop {
            let text = self.one_of(&TEXTS);
            if text.len() <= bytes_max {
                return text.to_owned();
            }
        }
    }

    pub(crate) fn list<T>(&mut self, bound: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.one_of(&[0, 1, 2, 5]).min(bound);
        (0..count).map(|_| make(self)).collect()
    }
}
