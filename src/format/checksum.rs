//! The two checksums of the format: XXH64 for headers and blocks, CRC-32C for the guard of one event.
//!
//! XXH64 finds accidents, not an adversary.

/// `XXH64(bytes, seed)`.
#[must_use]
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    xxhash_rust::xxh64::xxh64(bytes, seed)
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

/// CRC-32C (Castagnoli) of `bytes`, reflected, initial value and final xor all ones. Byte by byte: guards, of which there are many, take
/// the processor's instruction where it has one.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE[usize::from(low ^ byte)]
    })
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
}
