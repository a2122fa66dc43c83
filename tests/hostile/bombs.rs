//! Decompression bombs: frames that claim or hold far more than a segment, and files that would keep a reader busy for nothing. They are
//! refused or passed in little memory, whatever they claim.

use std::sync::Arc;
use std::time::Instant;

use crate::examine::{Truth, examine};
use crate::frames::{BD_4_MIB, Frame, LEGACY_MAGIC, frames_of_segment, skippable};
use crate::logs::{SoundLog, frozen};
use crate::memory::{keep_freed_memory, peak_of};

/// What TESTING allows beyond the rest: the decoder's buffers and then some.
const MOST_BYTES: usize = 64 << 20;

fn bombs(log: &SoundLog) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = log.plans[0].encode();
    let frames = frames_of_segment(&bytes, 2);
    let (header, blocks) = (frames[0].encode(), &frames[1]);
    let large = Frame { block_descriptor: BD_4_MIB, block_bytes: 4 << 20, ..blocks.clone() };
    let with_header = |frame: Frame| [header.clone(), frame.encode()].concat();
    let claimed = |size| with_header(Frame { content_size: Some(size), ..blocks.clone() });
    let whole = Frame { content_size: None, ..Frame::of(&bytes) };
    vec![
        ("a claim of 2^63", claimed(1 << 63)),
        ("a claim of 2^64 - 1", claimed(u64::MAX)),
        ("a claim of 8 GiB in whole blocks", claimed(524_288 * 16_448)),
        ("the header's frame claims 2^40", Frame { content_size: Some(1 << 40), ..frames[0].clone() }.encode()),
        (
            "zeros of 48 MiB behind the blocks",
            with_header(Frame { zeros_behind: 48 << 20, content_size: None, ..large.clone() }),
        ),
        ("one frame that goes on for 48 MiB", Frame { zeros_behind: 48 << 20, ..whole.clone() }.encode()),
        (
            "linked blocks of 4 MiB",
            with_header(Frame { linked: true, zeros_behind: 32 << 20, content_size: None, ..large.clone() }),
        ),
        ("no end mark after 32 MiB", with_header(Frame { end_mark: false, zeros_behind: 32 << 20, ..large.clone() })),
        ("30,000 empty frames", [header.clone(), Frame::of(&[]).encode().repeat(30_000), blocks.encode()].concat()),
        (
            "30,000 empty frames in front",
            [Frame::of(&[]).encode().repeat(30_000), header.clone(), blocks.encode()].concat(),
        ),
        ("skippable frames", [header.clone(), skippable(60_000).repeat(50), blocks.encode()].concat()),
        ("a skippable frame in front", [skippable(100), header.clone(), blocks.encode()].concat()),
        ("a legacy frame", Frame { magic: LEGACY_MAGIC, ..large.clone() }.encode()),
        ("a frame of another magic", with_header(Frame { magic: 0, ..blocks.clone() })),
        ("a dictionary", with_header(Frame { flags: Some(0b0110_1101), ..blocks.clone() })),
        ("reserved flags", with_header(Frame { flags: Some(0b0110_1110), ..blocks.clone() })),
        ("blocks of one byte", with_header(Frame { block_bytes: 1, ..blocks.clone() })),
    ]
}

#[test]
fn bombs_are_refused_or_passed_in_bounded_memory() {
    keep_freed_memory();
    let log = frozen();
    let (mut worst, mut refused, mut count) = (0, 0, 0);
    for (what, bytes) in bombs(&log) {
        let mut files = log.files.clone();
        let file = bytes.len();
        files.insert("FS.00000000.wal.lz4".into(), Arc::new(bytes));
        let machine = log.with_files(&files);
        drop(files);
        let begin = Instant::now();
        let (found, peak) = peak_of(|| examine(&machine, Truth::of(&|event| log.holds(event))));
        let found = found.unwrap_or_else(|why| panic!("{what}: {why}"));
        let is_whole = found.is_sound() && found.strict.events.len() as u64 == log.last_event_id;
        assert!(is_whole || !found.is_sound(), "{what}: {found:?}");
        eprintln!("{what}: {file} bytes, sound {is_whole}, peak {} KiB, {:?}", peak >> 10, begin.elapsed());
        worst = worst.max(peak);
        refused += u32::from(!is_whole);
        count += 1;
    }
    eprintln!(
        "FIGURE decompression bombs: {count}, {refused} refused, the others hold what was written; peak {} KiB",
        worst >> 10
    );
    assert!(worst <= MOST_BYTES, "{worst} bytes");
    assert!(refused > 5 && refused < count);
}
