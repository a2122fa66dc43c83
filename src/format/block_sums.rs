//! Both checksums of blocks in one pass over their events: XXH64 with seed 0, and XXH64 with the chain value before the block.
//!
//! The two hash the same bytes, so of the two multiplications that XXH64 spends on each word, the first is shared. And blocks do not
//! wait for each other: the header before a block stores the value that its chain begins with. So the four lanes of a block's
//! two sums, and several blocks, go side by side through vector registers where the processor multiplies 64-bit words there
//! (AVX-512 DQ). Elsewhere the same pass is made word by word. Both give the same value (tested, also against the plain XXH64).
//!
//! The recorder's threads take one block at a time, and 256-bit registers: wider ones lower the clock of some processors, and the
//! engine runs beside them. A reader takes several.

use super::block::EVENTS_PER_BLOCK;
use super::event::EVENT_BYTES;

/// The event slots of a block.
pub type Slots = [u8; EVENTS_PER_BLOCK as usize * EVENT_BYTES];

/// The checksums of one block's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    /// `XXH64(events, 0)`.
    pub block: u64,
    /// `XXH64(events, the chained checksum before)`.
    pub chained: u64,
}

/// Blocks that [`sums_of_full`] takes at once.
pub const SIDE_BY_SIDE: usize = 8;

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;

/// Bytes that the four lanes take in one step.
const STRIPE: usize = 32;
const _: () = assert!(EVENT_BYTES.is_multiple_of(STRIPE), "whole events leave no rest");

type Lanes = [u64; 4];

/// The sums of `events`, whole ones, at least one.
#[must_use]
pub fn sums_of(events: &[u8], chain: u64) -> Sums {
    debug_assert!(!events.is_empty() && events.len().is_multiple_of(EVENT_BYTES));
    let stripes = events.as_chunks::<STRIPE>().0;
    #[cfg(target_arch = "x86_64")]
    if let Some(lanes) = vectors::one(stripes, chain) {
        return finish(lanes, events.len());
    }
    finish(words(stripes, chain), events.len())
}

/// The sums of full blocks, each with the chain value before it.
#[must_use]
pub fn sums_of_full(blocks: &[(&Slots, u64); SIDE_BY_SIDE]) -> [Sums; SIDE_BY_SIDE] {
    #[cfg(target_arch = "x86_64")]
    if let Some(lanes) = vectors::side_by_side(blocks) {
        return lanes.map(|lanes| finish(lanes, size_of::<Slots>()));
    }
    blocks.map(|(slots, chain)| sums_of(slots, chain))
}

fn begin(seed: u64) -> Lanes {
    [seed.wrapping_add(P1).wrapping_add(P2), seed.wrapping_add(P2), seed, seed.wrapping_sub(P1)]
}

/// Word by word.
fn words(stripes: &[[u8; STRIPE]], chain: u64) -> [Lanes; 2] {
    let [mut block, mut chained] = [begin(0), begin(chain)];
    for stripe in stripes {
        for (lane, word) in stripe.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*word).wrapping_mul(P2);
            block[lane] = block[lane].wrapping_add(word).rotate_left(31).wrapping_mul(P1);
            chained[lane] = chained[lane].wrapping_add(word).rotate_left(31).wrapping_mul(P1);
        }
    }
    [block, chained]
}

fn finish([block, chained]: [Lanes; 2], bytes: usize) -> Sums {
    let finish = |lanes: Lanes| {
        let rotated = [1, 7, 12, 18].into_iter().zip(lanes).map(|(by, lane)| lane.rotate_left(by));
        let mut hash = rotated.fold(0, u64::wrapping_add);
        for lane in lanes {
            hash ^= lane.wrapping_mul(P2).rotate_left(31).wrapping_mul(P1);
            hash = hash.wrapping_mul(P1).wrapping_add(P4);
        }
        hash = hash.wrapping_add(bytes as u64);
        hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
        hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
        hash ^ (hash >> 32)
    };
    Sums { block: finish(block), chained: finish(chained) }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    #![allow(unsafe_code, reason = "vector instructions are reached through intrinsics of target features")]

    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_add_epi64, _mm256_loadu_si256, _mm256_mullo_epi64, _mm256_rol_epi64,
        _mm256_set1_epi64x, _mm256_storeu_si256, _mm512_add_epi64, _mm512_castsi256_si512, _mm512_castsi512_si256,
        _mm512_extracti64x4_epi64, _mm512_inserti64x4, _mm512_mullo_epi64, _mm512_rol_epi64, _mm512_set1_epi64,
    };

    use super::{Lanes, P1, P2, SIDE_BY_SIDE, STRIPE, Slots, begin};

    /// Pairs of blocks: one register holds four lanes of each.
    const PAIRS: usize = SIDE_BY_SIDE / 2;

    fn are_there() -> bool {
        std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512vl")
    }

    pub(super) fn one(stripes: &[[u8; STRIPE]], chain: u64) -> Option<[Lanes; 2]> {
        // SAFETY: the processor has just been seen to have the features.
        are_there().then(|| unsafe { one_there(stripes, chain) })
    }

    pub(super) fn side_by_side(blocks: &[(&Slots, u64); SIDE_BY_SIDE]) -> Option<[[Lanes; 2]; SIDE_BY_SIDE]> {
        // SAFETY: as above.
        are_there().then(|| unsafe { side_by_side_there(blocks) })
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
    fn load(bytes: &[u8; STRIPE]) -> __m256i {
        // SAFETY: a load of 32 bytes from 32 bytes, of any alignment.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
    fn lanes_in(vector: __m256i) -> Lanes {
        let mut lanes = [0; 4];
        // SAFETY: a store of 32 bytes into 32 bytes, of any alignment.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), vector) };
        lanes
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
    fn vector_of(lanes: Lanes) -> __m256i {
        // SAFETY: as in `load`.
        unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
    fn pair(low: __m256i, high: __m256i) -> __m512i {
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
    fn one_there(stripes: &[[u8; STRIPE]], chain: u64) -> [Lanes; 2] {
        let (p1, p2) = (_mm256_set1_epi64x(P1.cast_signed()), _mm256_set1_epi64x(P2.cast_signed()));
        let mut sums = [vector_of(begin(0)), vector_of(begin(chain))];
        for stripe in stripes {
            let words = _mm256_mullo_epi64(load(stripe), p2);
            for sum in &mut sums {
                *sum = _mm256_mullo_epi64(_mm256_rol_epi64::<31>(_mm256_add_epi64(*sum, words)), p1);
            }
        }
        [lanes_in(sums[0]), lanes_in(sums[1])]
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
    fn side_by_side_there(blocks: &[(&Slots, u64); SIDE_BY_SIDE]) -> [[Lanes; 2]; SIDE_BY_SIDE] {
        let (p1, p2) = (_mm512_set1_epi64(P1.cast_signed()), _mm512_set1_epi64(P2.cast_signed()));
        let both = |of: [Lanes; 2]| pair(vector_of(of[0]), vector_of(of[1]));
        let mut block = [both([begin(0); 2]); PAIRS];
        let mut chained = block;
        let pairs = blocks.as_chunks::<2>().0;
        for (sum, [low, high]) in chained.iter_mut().zip(pairs) {
            *sum = both([begin(low.1), begin(high.1)]);
        }
        let stripes = blocks.map(|(slots, _)| slots.as_chunks::<STRIPE>().0);
        #[allow(clippy::needless_range_loop, reason = "of all eight at once")]
        for step in 0..size_of::<Slots>() / STRIPE {
            for place in 0..PAIRS {
                let words = pair(load(&stripes[2 * place][step]), load(&stripes[2 * place + 1][step]));
                let words = _mm512_mullo_epi64(words, p2);
                for sum in [&mut block[place], &mut chained[place]] {
                    *sum = _mm512_mullo_epi64(_mm512_rol_epi64::<31>(_mm512_add_epi64(*sum, words)), p1);
                }
            }
        }
        let mut lanes = [[[0; 4]; 2]; SIDE_BY_SIDE];
        for place in 0..PAIRS {
            for (which, sum) in [block[place], chained[place]].into_iter().enumerate() {
                lanes[2 * place][which] = lanes_in(_mm512_castsi512_si256(sum));
                lanes[2 * place + 1][which] = lanes_in(_mm512_extracti64x4_epi64::<1>(sum));
            }
        }
        lanes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::xxh64;

    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let mut word = seed;
        (0..bytes)
            .map(|_| {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                word.to_le_bytes()[7]
            })
            .collect()
    }

    #[test]
    fn they_are_xxh64_at_every_length() {
        for count in 1..=EVENTS_PER_BLOCK as usize {
            let events = noise(count as u64, count * EVENT_BYTES);
            let chain = xxh64(&events[..8], 0);
            let told = Sums { block: xxh64(&events, 0), chained: xxh64(&events, chain) };
            assert_eq!(sums_of(&events, chain), told, "{count} events");
            let stripes = events.as_chunks::<STRIPE>().0;
            assert_eq!(finish(words(stripes, chain), events.len()), told, "{count} events, word by word");
        }
    }

    #[test]
    fn side_by_side_each_block_has_its_own() {
        let blocks: [Box<Slots>; SIDE_BY_SIDE] =
            std::array::from_fn(|place| noise(place as u64, size_of::<Slots>()).try_into().unwrap());
        let chains: [u64; SIDE_BY_SIDE] = std::array::from_fn(|place| u64::MAX / 7 * place as u64);
        let found = sums_of_full(&std::array::from_fn(|place| (&*blocks[place], chains[place])));
        for place in 0..SIDE_BY_SIDE {
            assert_eq!(found[place].block, xxh64(&blocks[place][..], 0), "block {place}");
            assert_eq!(found[place].chained, xxh64(&blocks[place][..], chains[place]), "block {place}");
        }
    }
}
