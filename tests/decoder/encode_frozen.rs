//! Writes frozen segments by FORMAT.md with the C library: every right form, and wrong ones.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

use std::io::Write;

use super::decoder::Stored;
use super::decoder::segment::{BLOCK_BYTES, block_offset};
use super::encode::Plan;

/// One frame as walrec writes it: blocks of 4 MiB, content checksum; with or without the content size.
pub fn frame(content: &[u8], with_size: bool) -> Vec<u8> {
    let mut builder = lz4::EncoderBuilder::new();
    builder.block_size(lz4::BlockSize::Max4MB).block_mode(lz4::BlockMode::Independent);
    builder.checksum(lz4::ContentChecksum::ChecksumEnabled);
    if with_size {
        builder.content_size(content.len() as u64);
    }
    let mut encoder = builder.build(Vec::new()).unwrap();
    encoder.write_all(content).unwrap();
    let (bytes, result) = encoder.finish();
    result.unwrap();
    bytes
}

/// The many-frame form: the header, then 64 blocks each.
pub fn many_frames(bytes: &[u8], blocks: usize) -> Vec<Vec<u8>> {
    let mut frames = vec![frame(&bytes[..64], true)];
    for part in bytes[64..block_offset(blocks)].chunks(64 * BLOCK_BYTES) {
        frames.push(frame(part, true));
    }
    frames
}

/// A sealed segment with room for 200 blocks, 130 of them full: frames of the header, 64, 64 and 2 blocks.
pub fn plan() -> Plan {
    Plan {
        index: 0,
        capacity: 200,
        created_ts_ns: 77,
        closed_ts_ns: 78,
        blocks: vec![256; 130],
        open_events: 0,
        first_event_id: 1,
        guards: true,
        link: None,
    }
}

/// Every form that the document allows.
pub fn right_forms() -> Vec<(Stored, Vec<u8>)> {
    let bytes = plan().encode();
    let used = &bytes[..block_offset(130)];
    vec![
        (Stored::FrozenInManyFrames, many_frames(&bytes, 130).concat()),
        (Stored::FrozenInOneFrame, frame(used, false)),
        (Stored::FrozenInOneFrame, frame(&bytes, false)),
        (Stored::FrozenInOneFrame, frame(used, true)),
    ]
}

/// Name of the fault, the file, and words of the decoder's message.
pub fn wrong_forms() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let bytes = plan().encode();
    let used = &bytes[..block_offset(130)];
    let frames = many_frames(&bytes, 130);
    assert_eq!(frames.len(), 4);
    let mut dirty = bytes.clone();
    dirty[block_offset(150)] = 1;
    vec![
        ("empty", vec![], "cut frame"),
        ("last frame missing", frames[..3].concat(), "used part"),
        ("first block frame missing", [&frames[..1], &frames[2..]].concat().concat(), "content of a frame"),
        ("frames swapped", [&frames[..1], &frames[2..3], &frames[1..2], &frames[3..]].concat().concat(), "block 0"),
        ("frame twice", [&frames[..], &frames[3..]].concat().concat(), "content of a frame"),
        ("end mark cut", frames.concat()[..frames.concat().len() - 8].to_vec(), "cut frame"),
        ("bytes behind", [&frames.concat()[..], &[0; 4]].concat(), "frame magic"),
        ("header and blocks in one, then more", [frame(used, true), frame(used, true)].concat(), "single-frame form"),
        ("zeros not zero", frame(&dirty, false), "content behind the used part"),
        ("not whole blocks", frame(&bytes[..block_offset(131) - 1], false), "64 + m * 16448"),
        ("fewer blocks than counted", frame(&bytes[..block_offset(129)], false), "64 + m * 16448"),
        ("fewer than the header", frame(&bytes[..63], false), "at least the segment header"),
    ]
}
