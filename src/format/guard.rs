//! The guard that makes one event valid on its own: CRC-32C of the event and of the one place that it stands in.
//!
//! It runs over each event on the flusher, so it takes the SSE4.2 instruction where the processor has it, eight bytes at a time. One guard
//! is a chain of ten such instructions, each waiting for the one before; many are made in one loop, where they overlap. Without the
//! instruction it is [`crc32c`] of the same bytes (tested).
//!
//! Serves `docs/FORMAT.md`, "Event".
#![allow(unsafe_code, reason = "the CRC32 instruction is reached through an intrinsic of a target feature")]

use super::EVENT_BYTES;
use super::checksum::crc32c;
use super::le;

/// Bytes of an event that its guard covers; the guard itself stands behind them.
const GUARDED_BYTES: usize = 60;

/// What binds a guard to one place of one segment.
#[derive(Clone, Copy, Debug)]
pub struct GuardContext {
    /// The segment's index.
    pub segment_index: u32,
    /// The segment's creation time, which never repeats within a log.
    pub created_ts_ns: u64,
}

impl GuardContext {
    /// The guard of the event in `slot` of the segment; never 0. Only bytes 0..60 of `event` count.
    #[must_use]
    pub fn guard(&self, slot: u32, event: &[u8; EVENT_BYTES]) -> u32 {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("sse4.2") {
            // SAFETY: the processor has it.
            return unsafe { instruction::guard(self, slot, event) };
        }
        self.guard_by_table(slot, event)
    }

    /// Writes the guards of events that stand one behind the other, the first one in `slot`.
    pub fn put_guards(&self, slot: u32, events: &mut [[u8; EVENT_BYTES]]) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("sse4.2") {
            // SAFETY: the processor has it.
            return unsafe { instruction::put_guards(self, slot, events) };
        }
        for (slot, event) in (slot..).zip(events) {
            let guard = self.guard_by_table(slot, event);
            le::put(event, GUARDED_BYTES, guard.to_le_bytes());
        }
    }

    fn guard_by_table(&self, slot: u32, event: &[u8; EVENT_BYTES]) -> u32 {
        let mut input = [0_u8; 16 + GUARDED_BYTES];
        le::put(&mut input, 0, self.segment_index.to_le_bytes());
        le::put(&mut input, 4, self.created_ts_ns.to_le_bytes());
        le::put(&mut input, 12, slot.to_le_bytes());
        input[16..].copy_from_slice(&event[..GUARDED_BYTES]);
        crc32c(&input).max(1)
    }

    /// Whether `event` carries the guard of `slot`.
    #[must_use]
    pub fn holds(&self, slot: u32, event: &[u8; EVENT_BYTES]) -> bool {
        let told = le::u32_at(event, GUARDED_BYTES);
        // An empty slot needs no sum.
        told != 0 && told == self.guard(slot, event)
    }
}

#[cfg(target_arch = "x86_64")]
mod instruction {
    use std::arch::x86_64::{_mm_crc32_u32, _mm_crc32_u64};

    use super::{EVENT_BYTES, GUARDED_BYTES, GuardContext, le};

    #[target_feature(enable = "sse4.2")]
    pub(super) fn guard(context: &GuardContext, slot: u32, event: &[u8; EVENT_BYTES]) -> u32 {
        let created = context.created_ts_ns;
        let first = u64::from(context.segment_index) | (created << 32);
        let second = (created >> 32) | (u64::from(slot) << 32);
        let (words, _) = event[..GUARDED_BYTES].as_chunks::<8>();
        let crc = _mm_crc32_u64(_mm_crc32_u64(u64::from(!0_u32), first), second);
        let crc = words.iter().fold(crc, |crc, word| _mm_crc32_u64(crc, u64::from_le_bytes(*word)));
        // The instruction zeroes the upper half of its 64-bit result.
        let [a, b, c, d, ..] = crc.to_le_bytes();
        let crc = _mm_crc32_u32(u32::from_le_bytes([a, b, c, d]), le::u32_at(event, GUARDED_BYTES - 4));
        (!crc).max(1)
    }

    #[target_feature(enable = "sse4.2")]
    pub(super) fn put_guards(context: &GuardContext, slot: u32, events: &mut [[u8; EVENT_BYTES]]) {
        for (slot, event) in (slot..).zip(events) {
            let guard = guard(context, slot, event);
            le::put(event, GUARDED_BYTES, guard.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seed: u64) -> [u8; EVENT_BYTES] {
        let mut bytes = [0; EVENT_BYTES];
        for (word, place) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(1_u64..) {
            *word = (seed + 1).wrapping_mul(place).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        }
        bytes
    }

    #[test]
    fn holds_only_in_its_place() {
        let context = GuardContext { segment_index: 3, created_ts_ns: 1_700 };
        let mut bytes = event(1);
        let guard = context.guard(5, &bytes);
        le::put(&mut bytes, GUARDED_BYTES, guard.to_le_bytes());
        assert!(context.holds(5, &bytes));
        assert!(!context.holds(6, &bytes));
        assert!(!GuardContext { segment_index: 4, ..context }.holds(5, &bytes));
        assert!(!GuardContext { created_ts_ns: 1_701, ..context }.holds(5, &bytes));
        for byte in 0..EVENT_BYTES {
            let mut damaged = bytes;
            damaged[byte] ^= 1;
            assert!(!context.holds(5, &damaged), "byte {byte}");
        }
    }

    #[test]
    fn zero_is_stored_as_one() {
        // 0 is what an empty slot holds, so no event may have it.
        let context = GuardContext { segment_index: 0, created_ts_ns: 0 };
        assert!(!context.holds(0, &[0; EVENT_BYTES]));
    }

    #[test]
    fn one_many_and_the_table_agree() {
        let contexts = [(0, 0), (3, 1_700), (u32::MAX, u64::MAX), (0x8000_0001, 1_771_234_567_891_234_567)];
        for (segment_index, created_ts_ns) in contexts {
            let context = GuardContext { segment_index, created_ts_ns };
            for first in [0, 5, 131_071 * 256] {
                let mut events: Vec<_> = (0..37).map(event).collect();
                let before = events.clone();
                context.put_guards(first, &mut events);
                for ((slot, event), before) in (first..).zip(&events).zip(&before) {
                    assert_eq!(event[..GUARDED_BYTES], before[..GUARDED_BYTES]);
                    assert_eq!(context.guard(slot, event), context.guard_by_table(slot, event));
                    assert!(context.holds(slot, event), "slot {slot}");
                }
            }
        }
    }
}
