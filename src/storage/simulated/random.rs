//! The simulation's only source of chance: the same seed gives the same world.

/// The generator splitmix64.
#[derive(Clone, Debug)]
pub(super) struct SplitMix {
    state: u64,
}

impl SplitMix {
    /// A generator whose whole sequence follows from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, 0 when that is 0. The bias of the remainder does not matter here.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// An index from 0 to `last`, both included.
    pub(super) fn up_to(&mut self, last: usize) -> usize {
        usize::try_from(self.below((last as u64).saturating_add(1))).unwrap_or(last)
    }

    /// True once in `of` times.
    pub(super) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    /// Eight bits, each set with probability `numerator` / 256.
    pub(super) fn mask(&mut self, numerator: u8) -> u8 {
        let mut mask = 0;
        for (bit, byte) in self.next().to_le_bytes().into_iter().enumerate() {
            mask |= u8::from(byte < numerator) << bit;
        }
        mask
    }

    /// Fills `bytes`.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }

    /// Sixteen bytes, as an identity has them.
    pub(super) fn sixteen(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes
    }
}
