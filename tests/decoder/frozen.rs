//! FORMAT.md, "Frozen segment". Frames are found by their block sizes, as the document says; what is inside one is
//! decoded by the C library.

use std::io::Read;

use super::fields::segment_header;
use super::segment::{BLOCK_BYTES, MAX_BLOCKS_READ, SEGMENT_HEADER_BYTES, Stored, block_offset, first_not_zero};

const FRAME_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// "each next one 64 blocks (the last fewer)"
const BLOCKS_PER_FRAME: usize = 64;

/// What a frame's header and its block sizes say, read without decoding (LZ4 frame format 1.6).
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Offset in the file.
    pub begin: usize,
    /// Offset behind the end mark and the content checksum.
    pub end: usize,
    /// LZ4 blocks in it.
    pub blocks: usize,
    /// Most bytes of one LZ4 block.
    pub block_max: usize,
    pub content_size: Option<u64>,
    pub content_checksum: bool,
}

fn at(file: &str, frame: usize, offset: usize, what: &str, expected: &str, actual: &str) -> String {
    format!("{file}: frame {frame}, offset {offset}: {what}: expected {expected}, actual {actual}")
}

fn slice<'a>(file: &str, frame: usize, bytes: &'a [u8], offset: usize, len: usize) -> Result<&'a [u8], String> {
    bytes.get(offset..offset + len).ok_or_else(|| {
        at(file, frame, offset, "cut frame", &format!("{len} bytes"), &bytes.len().saturating_sub(offset).to_string())
    })
}

fn u32_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("4 bytes"))
}

/// One frame from `begin`, to behind its end mark.
fn frame_at(file: &str, number: usize, bytes: &[u8], begin: usize) -> Result<Frame, String> {
    let magic = slice(file, number, bytes, begin, 4)?;
    if magic != FRAME_MAGIC {
        return Err(at(file, number, begin, "frame magic", &format!("{FRAME_MAGIC:02x?}"), &format!("{magic:02x?}")));
    }
    let flags = slice(file, number, bytes, begin + 4, 2)?;
    let (flg, bd) = (flags[0], flags[1]);
    if flg >> 6 != 1 || flg & 0b10 != 0 || bd & 0x8f != 0 {
        return Err(at(file, number, begin + 4, "FLG, BD", "version 1, reserved bits 0", &format!("{flags:02x?}")));
    }
    if flg & 1 != 0 {
        return Err(at(file, number, begin + 4, "FLG", "no dictionary", &format!("{flg:#x}")));
    }
    let block_max = match bd >> 4 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        other => return Err(at(file, number, begin + 5, "BD block size", "4..=7", &other.to_string())),
    };
    let mut cursor = begin + 6;
    let content_size = if flg & 8 == 0 {
        None
    } else {
        let size = slice(file, number, bytes, cursor, 8)?;
        cursor += 8;
        Some(u64::from_le_bytes(size.try_into().expect("8 bytes")))
    };
    cursor += 1; // the header checksum, for the C library to check
    let mut blocks = 0;
    loop {
        let size = u32_of(slice(file, number, bytes, cursor, 4)?);
        cursor += 4;
        if size == 0 {
            break; // the end mark
        }
        let size = usize::try_from(size & 0x7fff_ffff).expect("64-bit");
        if size > block_max {
            return Err(at(file, number, cursor - 4, "block size", &format!("at most {block_max}"), &size.to_string()));
        }
        let checksum = if flg & 16 == 0 { 0 } else { 4 };
        slice(file, number, bytes, cursor, size + checksum)?;
        cursor += size + checksum;
        blocks += 1;
    }
    let content_checksum = flg & 4 != 0;
    if content_checksum {
        slice(file, number, bytes, cursor, 4)?;
        cursor += 4;
    }
    Ok(Frame { begin, end: cursor, blocks, block_max, content_size, content_checksum })
}

/// Where each frame lies; they cover the file without a rest.
pub fn frames_of(file: &str, bytes: &[u8]) -> Result<Vec<Frame>, String> {
    let mut frames = Vec::new();
    let mut begin = 0;
    while begin < bytes.len() || frames.is_empty() {
        let frame = frame_at(file, frames.len(), bytes, begin)?;
        begin = frame.end;
        frames.push(frame);
    }
    Ok(frames)
}

/// Decodes one frame with the C library: to its end mark, with nothing left over.
fn decode(file: &str, number: usize, bytes: &[u8], frame: &Frame) -> Result<Vec<u8>, String> {
    let limit = block_offset(MAX_BLOCKS_READ) as u64;
    let wrong = |what: &str, expected: &str, actual: &str| at(file, number, frame.begin, what, expected, actual);
    let mut input = &bytes[frame.begin..frame.end];
    let mut out = Vec::new();
    let mut decoder = lz4::Decoder::new(&mut input).map_err(|why| why.to_string())?;
    decoder
        .by_ref()
        .take(limit + 1)
        .read_to_end(&mut out)
        .map_err(|why| wrong("content", "a frame that the C library decodes", &why.to_string()))?;
    if out.len() as u64 > limit {
        return Err(wrong("content", &format!("at most {limit} bytes"), "more"));
    }
    let (rest, end) = decoder.finish();
    end.map_err(|why| wrong("end mark", "seen", &why.to_string()))?;
    if !rest.is_empty() {
        return Err(wrong("bytes behind the end mark", "0", &rest.len().to_string()));
    }
    if frame.content_size.is_some_and(|size| size != out.len() as u64) {
        return Err(wrong("content size", &format!("{:?}", frame.content_size), &out.len().to_string()));
    }
    Ok(out)
}

/// The segment's bytes from a frozen file, and the form it has.
pub fn thaw(file: &str, bytes: &[u8]) -> Result<(Vec<u8>, Stored), String> {
    let frames = frames_of(file, bytes)?;
    let mut content = decode(file, 0, bytes, &frames[0])?;
    if content.len() < SEGMENT_HEADER_BYTES {
        return Err(at(file, 0, 0, "content", "at least the segment header's 64 bytes", &content.len().to_string()));
    }
    let block_count = usize::try_from(segment_header::BLOCK_COUNT.of(&content)).expect("64-bit");
    let used = block_offset(block_count);
    if content.len() == SEGMENT_HEADER_BYTES {
        for (number, frame) in frames.iter().enumerate().skip(1) {
            let part = decode(file, number, bytes, frame)?;
            let expected = (used.saturating_sub(content.len())).min(BLOCKS_PER_FRAME * BLOCK_BYTES);
            if part.len() != expected || expected == 0 {
                let text = format!("{expected} bytes of at most 64 blocks");
                return Err(at(file, number, frame.begin, "content of a frame", &text, &part.len().to_string()));
            }
            content.extend_from_slice(&part);
        }
        if content.len() != used {
            return Err(at(
                file,
                frames.len(),
                bytes.len(),
                "used part",
                &used.to_string(),
                &content.len().to_string(),
            ));
        }
        return Ok((content, Stored::FrozenInManyFrames));
    }
    if frames.len() != 1 {
        let text = "nothing behind a frame that holds more than the header";
        return Err(at(file, 1, frames[1].begin, "single-frame form", text, "another frame"));
    }
    let blocks = (content.len() - SEGMENT_HEADER_BYTES) / BLOCK_BYTES;
    if content.len() != block_offset(blocks) || blocks < block_count {
        let text = format!("64 + m * 16448 with m from {block_count}");
        return Err(at(file, 0, 0, "content", &text, &content.len().to_string()));
    }
    if let Some(dirty) = first_not_zero(&content[used..]) {
        return Err(at(file, 0, used + dirty, "content behind the used part", "0", &content[used + dirty].to_string()));
    }
    Ok((content, Stored::FrozenInOneFrame))
}

/// The content of all frames, whatever form they make together.
pub fn content_of(file: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    for (number, frame) in frames_of(file, bytes)?.iter().enumerate() {
        content.extend(decode(file, number, bytes, frame)?);
    }
    Ok(content)
}

/// "block size 4 MiB, one LZ4 block each, content size and content checksum present": what walrec's own frames are.
pub fn check_own_frames(file: &str, bytes: &[u8]) -> Result<(), String> {
    for (number, frame) in frames_of(file, bytes)?.iter().enumerate() {
        let is = (frame.block_max, frame.blocks, frame.content_size.is_some(), frame.content_checksum);
        if is != (4 << 20, 1, true, true) {
            let expected = "4 MiB blocks, 1 block, content size, content checksum";
            return Err(at(file, number, frame.begin, "frame", expected, &format!("{frame:?}")));
        }
    }
    Ok(())
}
