//! Changes of a frozen segment's frames, before they are written.

use super::decoder::segment::block_offset;
use super::frames::{BD_4_MIB, Frame, LEGACY_MAGIC, frames_of_segment, skippable};
use super::script::Op;

/// Most content that a bomb holds: more than one LZ4 block. Larger ones are in `tests/hostile`.
const MOST_BOMB: u64 = 5 << 20;
/// Largest file that is written.
const MOST_BYTES: usize = 1 << 20;

/// What is written: a frame, or bytes as they are.
enum Part {
    Frame(Box<Frame>),
    Bytes(Vec<u8>),
}

/// A segment's file, with its frames changed by each op in turn.
pub fn encode_frames(segment: &[u8], blocks: usize, one_frame: bool, ops: &[Op]) -> Vec<u8> {
    let end = block_offset(blocks).min(segment.len());
    let frames = if one_frame || segment.len() < block_offset(1) {
        vec![Frame { content_size: None, ..Frame::of(&segment[..end]) }]
    } else {
        frames_of_segment(segment, blocks)
    };
    let mut parts: Vec<Part> = frames.into_iter().map(|frame| Part::Frame(Box::new(frame))).collect();
    for op in ops {
        if parts.is_empty() {
            break;
        }
        let at = op.pick(parts.len());
        if op.code.is_multiple_of(2) {
            if let Part::Frame(frame) = &mut parts[at] {
                change_frame(frame, *op);
            }
        } else {
            change_list(&mut parts, at, *op);
        }
    }
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Frame(frame) => bytes.extend(frame.encode()),
            Part::Bytes(other) => bytes.extend(other),
        }
        bytes.truncate(MOST_BYTES);
    }
    bytes
}

fn change_frame(frame: &mut Frame, op: Op) {
    let low = op.value.to_le_bytes()[0];
    let small = usize::try_from(op.value % 70_000).unwrap_or(0);
    match op.field % 14 {
        0 => frame.content_size = Some(op.number(frame.content.len() as u64, || 64)),
        1 => frame.content_size = None,
        2 => frame.block_descriptor = low,
        3 => frame.flags = Some(low),
        4 => frame.block_bytes = small.max(16),
        5 => frame.stored = !frame.stored,
        6 => frame.linked = !frame.linked,
        7 => frame.block_checksums = !frame.block_checksums,
        8 => frame.content_checksum = !frame.content_checksum,
        9 => frame.end_mark = !frame.end_mark,
        10 => frame.content.resize(small, 0),
        11 => frame.magic = if low.is_multiple_of(2) { LEGACY_MAGIC } else { low.into() },
        12 => {
            // Seldom a large one: it takes longer than all else.
            frame.zeros_behind = op.value % if op.kind.is_multiple_of(64) { MOST_BOMB } else { MOST_BOMB / 64 };
            (frame.block_descriptor, frame.block_bytes) = (BD_4_MIB, 4 << 20);
        }
        _ => {
            let place = op.pick_other(frame.content.len());
            if let Some(byte) = frame.content.get_mut(place) {
                *byte ^= op.kind.max(1);
            }
        }
    }
}

fn change_list(parts: &mut Vec<Part>, at: usize, op: Op) {
    let other = op.pick_other(parts.len());
    match op.field % 7 {
        0 => drop(parts.remove(at)),
        1 => parts.swap(at, other),
        2 => {
            if let Part::Frame(frame) = &parts[other] {
                let copy = Part::Frame(frame.clone());
                parts.insert(at, copy);
            }
        }
        3 => parts.insert(at, Part::Bytes(skippable(op.pick_other(2_000)))),
        4 => {
            let empty = Frame::of(&[]).encode();
            parts.insert(at, Part::Bytes(empty.repeat(op.pick_other(200))));
        }
        5 => parts.insert(at, Part::Frame(Box::new(Frame::of(&vec![op.kind; op.pick_other(20_000)])))),
        // Two frames of one, cut anywhere.
        _ => {
            if let Part::Frame(frame) = &mut parts[at] {
                let cut = op.pick_other(frame.content.len() + 1);
                let rest = frame.content.split_off(cut);
                frame.content_size = frame.content_size.map(|_| cut as u64);
                let second =
                    Frame { content: rest.clone(), content_size: Some(rest.len() as u64), ..(**frame).clone() };
                parts.insert(at + 1, Part::Frame(Box::new(second)));
            }
        }
    }
}
