//! The two checksums of the format: XXH64 for headers and blocks, CRC-32C for the guard of one event.
//!
//! XXH64 finds accidents, not an adversary. CRC-32C runs on the flusher over each event, so it uses the SSE4.2
//! instruction where the processor has it and slicing tables elsewhere; both give the same value (tested).

/// `XXH64(bytes, seed)`.
#[must_use]
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    xxhash_rust::xxh64::xxh64(bytes, seed)
}

/// CRC-32C (Castagnoli) of `bytes`, reflected, initial value and final xor all ones.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        return hardware::crc32c(bytes);
    }
    table_crc32c(bytes)
}

const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0_u32; 256];
    let mut index = 0_u32;
    while index < 256 {
        let mut crc = index;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[index as usize] = crc;
        index += 1;
    }
    table
};

fn table_crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE[usize::from(low ^ byte)]
    })
}

#[cfg(target_arch = "x86_64")]
mod hardware {
    #![allow(unsafe_code, reason = "the CRC32 instruction is reached through an intrinsic of a target feature")]

    pub(super) fn crc32c(bytes: &[u8]) -> u32 {
        // SAFETY: the only caller has just seen that the processor has SSE4.2.
        unsafe { crc32c_sse42(bytes) }
    }

    #[target_feature(enable = "sse4.2")]
    fn crc32c_sse42(bytes: &[u8]) -> u32 {
        use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
        let (words, rest) = bytes.as_chunks::<8>();
        let wide = words.iter().fold(u64::from(!0_u32), |crc, word| _mm_crc32_u64(crc, u64::from_le_bytes(*word)));
        // The instruction zeroes the upper half of its 64-bit result.
        let [a, b, c, d, ..] = wide.to_le_bytes();
        !rest.iter().fold(u32::from_le_bytes([a, b, c, d]), |crc, &byte| _mm_crc32_u8(crc, byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_check_values() {
        // CRC-32C: the check value of the CRC catalogue and the all-zero vector of RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        // XXH64 of nothing with seed 0.
        assert_eq!(xxh64(b"", 0), 0xef46_db37_51d8_e999);
    }

    #[test]
    fn hardware_and_table_agree_on_every_length() {
        let bytes: Vec<u8> = (0..200_u16).map(|index| (index * 31 % 251).to_le_bytes()[0]).collect();
        for length in 0..bytes.len() {
            assert_eq!(crc32c(&bytes[..length]), table_crc32c(&bytes[..length]), "length {length}");
        }
    }
}
