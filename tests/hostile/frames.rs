//! Writes LZ4 frames by the frame format 1.6, right ones and every kind of wrong one. No LZ4 library is asked: a small encoder that
//! knows runs of one byte is enough, and it can say things that no library writes.

#![allow(dead_code, reason = "each crate that includes this uses its own part")]

use twox_hash::XxHash32;

use super::decoder::segment::{BLOCK_BYTES, block_offset};

pub const MAGIC: u32 = 0x184d_2204;
pub const LEGACY_MAGIC: u32 = 0x184c_2102;
pub const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
/// Block descriptor: blocks of at most 64 KiB, 4 MiB.
pub const BD_64_KIB: u8 = 4 << 4;
pub const BD_4_MIB: u8 = 7 << 4;

/// A frame to be written.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "the frame format has as many flags")]
pub struct Frame {
    pub magic: u32,
    /// Instead of the flags that follow from the fields below.
    pub flags: Option<u8>,
    pub block_descriptor: u8,
    pub content: Vec<u8>,
    /// What the frame says its content's size is.
    pub content_size: Option<u64>,
    /// The content once more, so many times: a few bytes of file each.
    pub zeros_behind: u64,
    /// Content bytes of one block.
    pub block_bytes: usize,
    pub stored: bool,
    pub linked: bool,
    pub block_checksums: bool,
    pub content_checksum: bool,
    pub end_mark: bool,
}

impl Frame {
    /// A right one.
    pub fn of(content: &[u8]) -> Self {
        Self {
            magic: MAGIC,
            flags: None,
            block_descriptor: BD_64_KIB,
            content: content.to_vec(),
            content_size: Some(content.len() as u64),
            zeros_behind: 0,
            block_bytes: 1 << 16,
            stored: false,
            linked: false,
            block_checksums: false,
            content_checksum: true,
            end_mark: true,
        }
    }

    fn flags(&self) -> u8 {
        let bit = |is: bool, bit: u8| if is { 1 << bit } else { 0 };
        0b0100_0000
            | bit(!self.linked, 5)
            | bit(self.block_checksums, 4)
            | bit(self.content_size.is_some(), 3)
            | bit(self.content_checksum, 2)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.magic.to_le_bytes().to_vec();
        out.extend([self.flags.unwrap_or_else(|| self.flags()), self.block_descriptor]);
        out.extend(self.content_size.iter().flat_map(|size| size.to_le_bytes()));
        out.push(xxh32(&out[4..]).to_le_bytes()[1]);
        for part in self.content.chunks(self.block_bytes.max(1)) {
            let packed = if self.stored { part.to_vec() } else { compress(part) };
            self.put_block(&mut out, &packed, self.stored);
        }
        let mut left = self.zeros_behind;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(self.block_bytes.max(1));
            self.put_block(&mut out, &compress_zeros(step), false);
            left -= step as u64;
        }
        if self.end_mark {
            out.extend([0; 4]);
            if self.content_checksum {
                out.extend(self.content_hash().to_le_bytes());
            }
        }
        out
    }

    fn content_hash(&self) -> u32 {
        use std::hash::Hasher;
        if self.zeros_behind == 0 {
            return xxh32(&self.content);
        }
        let mut hasher = XxHash32::with_seed(0);
        hasher.write(&self.content);
        let zeros = [0; 1 << 16];
        let mut left = self.zeros_behind;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
            hasher.write(&zeros[..step]);
            left -= step as u64;
        }
        u32::try_from(hasher.finish()).unwrap()
    }

    fn put_block(&self, out: &mut Vec<u8>, packed: &[u8], stored: bool) {
        let size = u32::try_from(packed.len()).unwrap() | if stored { 1 << 31 } else { 0 };
        out.extend(size.to_le_bytes());
        out.extend_from_slice(packed);
        if self.block_checksums {
            out.extend(xxh32(packed).to_le_bytes());
        }
    }
}

pub fn xxh32(bytes: &[u8]) -> u32 {
    XxHash32::oneshot(0, bytes)
}

/// The frames that walrec makes of a segment.
pub fn frames_of_segment(bytes: &[u8], blocks: usize) -> Vec<Frame> {
    let parts = bytes[64..block_offset(blocks)].chunks(64 * BLOCK_BYTES);
    let mut frames = vec![Frame::of(&bytes[..64])];
    frames.extend(parts.map(|part| {
        // One LZ4 block each, as walrec writes; a small one need not announce 4 MiB.
        let small = part.len() <= 1 << 16;
        let block_descriptor = if small { BD_64_KIB } else { BD_4_MIB };
        Frame { block_descriptor, block_bytes: 4 << 20, ..Frame::of(part) }
    }));
    frames
}

/// What a skippable frame looks like.
pub fn skippable(bytes: usize) -> Vec<u8> {
    let mut out = SKIPPABLE_MAGIC.to_le_bytes().to_vec();
    out.extend(u32::try_from(bytes).unwrap().to_le_bytes());
    out.resize(out.len() + bytes, 0x5a);
    out
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    if length >= 15 {
        out.extend(std::iter::repeat_n(255, (length - 15) / 255));
        out.push(u8::try_from((length - 15) % 255).unwrap());
    }
}

/// One LZ4 sequence: literals, then a match of `matched` bytes at distance 1; 0 for the last one.
fn put_sequence(out: &mut Vec<u8>, literals: &[u8], matched: usize) {
    let low = if matched == 0 { 0 } else { (matched - 4).min(15) };
    out.push(u8::try_from(literals.len().min(15) << 4 | low).unwrap());
    put_length(out, literals.len());
    out.extend_from_slice(literals);
    if matched > 0 {
        out.extend([1, 0]);
        put_length(out, matched - 4);
    }
}

/// How often the first byte is repeated, from 8 times on.
fn run_at(content: &[u8]) -> usize {
    let word = [content[0]; 8];
    let words = content.chunks_exact(8).take_while(|part| *part == word).count();
    let rest = content[words * 8..].iter().take_while(|byte| **byte == content[0]);
    if words == 0 { 0 } else { words * 8 + rest.count() }
}

/// An LZ4 block of `content`: runs of one byte become matches.
fn compress(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut literals, mut at) = (0, 0);
    // The last match begins 12 bytes before the end at the latest, and the last five bytes are literals.
    while at + 13 < content.len() {
        let run = run_at(&content[at..content.len() - 5]);
        if run < 8 {
            at += 1;
            continue;
        }
        put_sequence(&mut out, &content[literals..=at], run - 1);
        at += run;
        literals = at;
    }
    put_sequence(&mut out, &content[literals..], 0);
    out
}

/// An LZ4 block of so many zeros.
fn compress_zeros(bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    if bytes < 32 {
        put_sequence(&mut out, &vec![0; bytes], 0);
    } else {
        put_sequence(&mut out, &[0], bytes - 6);
        put_sequence(&mut out, &[0; 5], 0);
    }
    out
}
