//! What is true of a log beyond being readable: of what walrec wrote, and of what was closed cleanly.

use std::fs;

use super::fields::{block_header, event, segment_header};
use super::frozen::check_own_frames;
use super::segment::{BLOCK_HEADER_BYTES, EVENT_BYTES, EVENTS_PER_BLOCK, FLAG_GUARDS, FLAG_LINK, block_offset, guard};
use super::{Block, HeaderTrust, Log, Place, Segment, Stored, id_of};

/// Blocks of a segment that walrec writes.
const BLOCKS_WRITTEN: std::ops::RangeInclusive<usize> = 16..=131_072;

/// Holds for every log that walrec wrote from its first event.
pub fn check_written_by_walrec(log: &Log) -> Result<(), String> {
    check_written_after(log, 0)
}

/// Holds for a log that walrec continued after another recorder's event `foreign_last`.
pub fn check_written_after(log: &Log, foreign_last: u64) -> Result<(), String> {
    if log.id.is_none() {
        return Err("walrec.id: expected 32 hex digits and a newline, actual missing".to_owned());
    }
    if log.stage.is_none() {
        return Err("walrec.stage: expected one line, actual missing".to_owned());
    }
    for (place, segment) in log.segments.iter().enumerate() {
        let ours = segment.blocks.iter().all(|block| block.first_event_id > foreign_last)
            && segment.header_trust == HeaderTrust::Checksum;
        if ours {
            check_header(segment, place.checked_sub(1).map(|previous| &log.segments[previous]))?;
        }
        if segment.stored == Stored::FrozenInManyFrames {
            let bytes = fs::read(log.dir.join(&segment.name)).map_err(|why| format!("{}: {why}", segment.name))?;
            check_own_frames(&segment.name, &bytes)?;
        }
        for block in &segment.blocks {
            if block.first_event_id > foreign_last {
                check_block(log, segment, block, place > 0)?;
            } else if block.last_event_id > foreign_last {
                let at = Place { file: &segment.name, block: Some(block.index), offset: block_offset(block.index) };
                return Err(at.fault(
                    "block that another recorder began",
                    &format!("left as it was, to event {foreign_last}"),
                    &format!("continued to {}", block.last_event_id),
                ));
            }
        }
    }
    Ok(())
}

fn check_header(segment: &Segment, previous: Option<&Segment>) -> Result<(), String> {
    use segment_header as h;
    let at = |offset| Place { file: &segment.name, block: None, offset };
    let created = segment.created_ts_ns();
    if created == 0 {
        return Err(at(h::CREATED_TS_NS.off).fault("created_ts_ns", "not 0", "0"));
    }
    if let Some(previous) = previous
        && created <= previous.created_ts_ns()
    {
        let expected = format!("above {} of {}", previous.created_ts_ns(), previous.name);
        return Err(at(h::CREATED_TS_NS.off).fault("created_ts_ns", &expected, &created.to_string()));
    }
    if segment.sealed && segment.closed_ts_ns() <= created {
        let expected = format!("above created_ts_ns {created}");
        return Err(at(h::CLOSED_TS_NS.off).fault("closed_ts_ns", &expected, &segment.closed_ts_ns().to_string()));
    }
    if segment.stored == Stored::Hot && !BLOCKS_WRITTEN.contains(&segment.capacity) {
        return Err(at(0).fault("blocks of the segment", "16..=131072", &segment.capacity.to_string()));
    }
    if !segment.sealed && segment.events.is_empty() {
        for field in [h::BLOCK_COUNT, h::EVENT_COUNT, h::FIRST_EVENT_ID, h::LAST_EVENT_ID, h::LAST_CHAINED_CHECKSUM] {
            let actual = field.of(&segment.header);
            if actual != 0 {
                return Err(at(field.off).fault("prepared segment's count", "0", &format!("{} {actual}", field.name)));
            }
        }
    }
    Ok(())
}

fn check_block(log: &Log, segment: &Segment, block: &Block, has_previous: bool) -> Result<(), String> {
    let start = block_offset(block.index);
    let at = |offset| Place { file: &segment.name, block: Some(block.index), offset };
    let is_last = segment.blocks.last().is_some_and(|last| last.index == block.index);
    if block.finalized {
        if block.flags & FLAG_GUARDS == 0 {
            return Err(at(start + 46).fault("flag bit 0 (guards)", "1", &format!("flags {:#x}", block.flags)));
        }
        if block.index == 0 && has_previous && block.link.is_none() {
            return Err(at(start + 46).fault("flag bit 1 (link)", "1", &format!("flags {:#x}", block.flags)));
        }
        if block.index != 0 && block.flags & FLAG_LINK != 0 {
            return Err(at(start + 46).fault("flag bit 1 outside block 0", "0", "1"));
        }
        let unused = [(block_header::RESERVED, true), (block_header::LINK, block.flags & FLAG_LINK == 0)];
        for (field, is_unused) in unused {
            let actual = field.of(&block.header);
            if is_unused && actual != 0 {
                let what = format!("unused bytes ({})", field.name);
                return Err(at(start + field.off).fault(&what, "0", &format!("{actual:#x}")));
            }
        }
        if block.events.len() < EVENTS_PER_BLOCK && !is_last {
            return Err(at(start + 44).fault(
                "event_count",
                "256 in all but the last",
                &block.events.len().to_string(),
            ));
        }
    }
    for place in block.events.clone() {
        let bytes = &log.events[place];
        let slot = Segment::slot_of(block, place);
        let expected = u64::from(guard(segment.index, segment.created_ts_ns(), slot, bytes));
        let actual = event::GUARD.of(bytes);
        if actual != expected {
            let offset = start + BLOCK_HEADER_BYTES + slot % EVENTS_PER_BLOCK * EVENT_BYTES + event::GUARD.off;
            return Err(at(offset).fault(
                &format!("guard of event {} in slot {slot}", id_of(bytes)),
                &format!("{expected:#x}"),
                &format!("{actual:#x}"),
            ));
        }
    }
    Ok(())
}

/// What else happened to a log before its clean close.
#[derive(Clone, Copy, Debug, Default)]
pub struct History<'a> {
    /// Segments that recovery cut: bytes may stand behind their last event.
    pub cut: &'a [u32],
    /// Whether a recorder was killed: a segment that it had sealed and not yet cut to size keeps the padded one.
    pub killed: bool,
}

/// Holds after a clean close of a log that was never killed or cut.
pub fn check_closed(log: &Log) -> Result<(), String> {
    check_closed_after(log, History::default())
}

/// Holds after a clean close of a log with such a history.
pub fn check_closed_after(log: &Log, history: History) -> Result<(), String> {
    for segment in &log.segments {
        let at = |offset| Place { file: &segment.name, block: None, offset };
        if !segment.sealed {
            return Err(at(segment_header::CLOSED_TS_NS.off).fault("closed_ts_ns after a clean close", "not 0", "0"));
        }
        if segment.events.is_empty() {
            return Err(at(segment_header::EVENT_COUNT.off).fault("event_count after a clean close", "not 0", "0"));
        }
        let exact = segment.file_bytes == block_offset(segment.capacity) as u64;
        if segment.stored == Stored::Hot && !exact && !history.killed {
            let expected = block_offset(segment.capacity).to_string();
            return Err(at(0).fault("file size after a clean close", &expected, &segment.file_bytes.to_string()));
        }
        if let Some(dirty) = segment.first_dirty_byte
            && !history.cut.contains(&segment.index)
        {
            return Err(at(dirty).fault("bytes behind the last event", "0", "not 0"));
        }
    }
    match &log.stage {
        Some(stage) if stage.open => return Err("walrec.stage: state: expected closed, actual open".to_owned()),
        Some(stage) if stage.stage_path.exists() => {
            return Err(format!(
                "walrec.stage: stage path {}: expected removed, actual there",
                stage.stage_path.display()
            ));
        }
        Some(_) => {}
        None => return Err("walrec.stage: expected one line, actual missing".to_owned()),
    }
    if let Some(name) = log.leftovers.first() {
        return Err(format!("{name}: leftover after a clean close: expected none, actual there"));
    }
    if let Some(name) = log.duplicates.first() {
        return Err(format!("{name}: second file of a segment after a clean close: expected none, actual there"));
    }
    check_final_meta(log)
}

/// The final meta state: "the durable position (offset is the byte after the last durable event's slot)".
fn check_final_meta(log: &Log) -> Result<(), String> {
    let Some(meta) = log.meta else {
        if log.segments.is_empty() {
            return Ok(()); // "missing or short: nothing is known", and there is nothing
        }
        return Err("wal_meta.dat: expected 16 bytes, actual missing or another size".to_owned());
    };
    let expected = log
        .segments
        .last()
        .map_or((0, 0, 0), |segment| (segment.index, segment.end_of_events() as u64, log.last_event_id()));
    let actual = (meta.segment_index, u64::from(meta.offset), meta.last_event_id);
    // Of an empty log only the id says anything.
    let same = if log.segments.is_empty() { actual.2 == expected.2 } else { actual == expected };
    if !same {
        return Err(format!(
            "wal_meta.dat: offset 0: (segment, offset, last_event_id): expected {expected:?}, actual {actual:?}"
        ));
    }
    Ok(())
}
