//! Numbers that follow from a seed.

/// SplitMix64, by Sebastiano Vigna, public domain.
pub(crate) struct Random(u64);

impl Random {
    /// From any number.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From what is in the bytes, by FNV-1a.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    /// 0 to `bound - 1`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The remainder favours small numbers by less than anybody would notice here.
        (z ^ (z >> 31)) % bound.max(1)
    }
}
