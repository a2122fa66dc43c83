//! A log that changes are made to, in memory, until it is put on a simulated machine.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use walrec::storage::simulated::SimulatedSystem;

use super::decoder::fields::{Field, block_header, event, segment_header};
use super::decoder::frozen::thaw;
use super::decoder::segment::{BLOCK_BYTES, EVENT_BYTES, EVENTS_PER_BLOCK, block_offset, guard, slot_offset};
use super::decoder::{EventBytes, Name, id_of, judge_name};
use super::encode::{repair_block_header, repair_blocks, repair_counts, repair_segment_header};
use super::examine::LOG;
use super::frame_ops::encode_frames;
use super::logs::{FileMap, SoundLog};
use super::script::Op;

/// Largest file that changes make.
const MOST_BYTES: usize = 300_000;

/// A segment, uncompressed, and what is to be done to its file after that.
#[derive(Clone)]
pub struct SegmentFile {
    pub index: u32,
    pub bytes: Arc<Vec<u8>>,
    /// `None` for a `.wal`; else whether it is one frame.
    pub one_frame: Option<bool>,
    pub changed: bool,
    /// Changes of its frames, and then of the file's bytes.
    pub frame_ops: Vec<Op>,
    pub raw_ops: Vec<Op>,
}

impl SegmentFile {
    /// Blocks there is room for.
    fn room(&self) -> usize {
        self.bytes.len().saturating_sub(64) / BLOCK_BYTES
    }

    /// Blocks that something stands in, at least one.
    fn used(&self) -> usize {
        let told = usize::try_from(block_header_count(&self.bytes)).unwrap_or(0);
        let told = if told == 0 { 2 } else { told };
        told.clamp(1, self.room().max(1))
    }

    fn edit(&mut self) -> &mut Vec<u8> {
        self.changed = true;
        Arc::make_mut(&mut self.bytes)
    }
}

fn block_header_count(bytes: &[u8]) -> u64 {
    if bytes.len() < 64 { 0 } else { segment_header::BLOCK_COUNT.of(bytes) }
}

/// The files of a log, on their way.
pub struct World<'a> {
    pub log: &'a SoundLog,
    pub segments: BTreeMap<String, SegmentFile>,
    /// All others, and the finished segments.
    pub files: FileMap,
    /// Directories to be made, and how far each may be trusted.
    pub directories: Vec<(String, u32, bool)>,
}

/// The parts of segments, by a log's files.
pub fn segments_of(log: &SoundLog) -> BTreeMap<String, SegmentFile> {
    let mut segments = BTreeMap::new();
    for (name, bytes) in &log.files {
        let (index, bytes, one_frame) = match judge_name(name) {
            Name::Hot(index) => (index, Arc::clone(bytes), None),
            Name::Frozen(index) => {
                let (content, _) = thaw(name, bytes).unwrap();
                let one = super::decoder::frozen::frames_of(name, bytes).unwrap().len() == 1;
                (index, Arc::new(content), Some(one))
            }
            _ => continue,
        };
        let file = SegmentFile { index, bytes, one_frame, changed: false, frame_ops: Vec::new(), raw_ops: Vec::new() };
        segments.insert(name.clone(), file);
    }
    segments
}

impl<'a> World<'a> {
    pub fn new(log: &'a SoundLog, segments: &BTreeMap<String, SegmentFile>) -> Self {
        Self { log, segments: segments.clone(), files: log.files.clone(), directories: Vec::new() }
    }

    /// The segment that a change is about.
    pub fn segment(&mut self, op: Op) -> Option<&mut SegmentFile> {
        let count = self.segments.len().max(1);
        self.segments.values_mut().nth(usize::from(op.file) % count)
    }

    /// Changes one field of a table.
    fn put_field(bytes: &mut [u8], fields: &[Field], op: Op, begin: usize, other: usize) {
        let field = fields[usize::from(op.field) % fields.len()];
        if field.size > 8 || begin + 64 > bytes.len() {
            return;
        }
        let old = field.of(&bytes[begin..]);
        let elsewhere = || if other + 64 <= bytes.len() { field.of(&bytes[other..]) } else { 0 };
        let number = op.number(old, elsewhere);
        field.put(&mut bytes[begin..], number);
    }

    pub fn put_segment_header(&mut self, op: Op) {
        let count = self.segments.len();
        let other = self.segments.values().nth(op.pick(count)).map(|other| Arc::clone(&other.bytes));
        let Some(segment) = self.segment(op) else { return };
        let fields = &segment_header::ALL;
        let field = fields[usize::from(op.field) % fields.len()];
        if segment.bytes.len() < 64 {
            return;
        }
        let elsewhere = || other.filter(|bytes| bytes.len() >= 64).map_or(0, |bytes| field.of(&bytes));
        let number = op.number(field.of(&segment.bytes), elsewhere);
        field.put(segment.edit(), number);
    }

    pub fn put_block_header(&mut self, op: Op) {
        let Some(segment) = self.segment(op) else { return };
        let (begin, other) = (block_offset(op.pick(segment.used() + 1)), block_offset(op.pick_other(segment.used())));
        Self::put_field(segment.edit(), &block_header::ALL, op, begin, other);
    }

    pub fn put_event(&mut self, op: Op) {
        let Some(segment) = self.segment(op) else { return };
        let slot = op.pick(segment.used() * EVENTS_PER_BLOCK);
        let other = slot_offset(op.pick_other(segment.used() * EVENTS_PER_BLOCK));
        Self::put_field(segment.edit(), &event::ALL, op, slot_offset(slot), other);
    }

    pub fn poke(&mut self, op: Op) {
        let Some(segment) = self.segment(op) else { return };
        let place = op.pick(segment.bytes.len());
        if let Some(byte) = segment.edit().get_mut(place) {
            *byte ^= op.kind.max(1);
        }
    }

    /// Makes the segment larger or smaller: to whole blocks, or by a few bytes.
    pub fn resize(&mut self, op: Op) {
        let Some(segment) = self.segment(op) else { return };
        let exact = block_offset(op.pick(18));
        let bytes = match op.kind % 4 {
            0 => exact,
            1 => exact.next_multiple_of(4096),
            2 => exact.saturating_add_signed(isize::from(op.value.to_le_bytes()[0].cast_signed())),
            _ => op.pick_other(segment.bytes.len() + 5_000),
        };
        segment.edit().resize(bytes.min(MOST_BYTES), 0);
    }

    /// Copies a block, header and all, or one event, from one place to another, perhaps of another segment.
    pub fn copy_part(&mut self, op: Op) {
        let count = self.segments.len();
        let Some(from) = self.segments.values().nth(usize::from(op.field) % count.max(1)).cloned() else { return };
        let Some(to) = self.segment(op) else { return };
        let (source, target, bytes) = if op.kind.is_multiple_of(2) {
            (block_offset(op.pick_other(from.used() + 1)), block_offset(op.pick(to.used() + 1)), BLOCK_BYTES)
        } else {
            let source = op.pick_other(from.used() * EVENTS_PER_BLOCK);
            (slot_offset(source), slot_offset(op.pick(to.used() * EVENTS_PER_BLOCK)), EVENT_BYTES)
        };
        if let Some(part) = from.bytes.get(source..source + bytes)
            && let Some(place) = to.edit().get_mut(target..target + bytes)
        {
            place.copy_from_slice(part);
        }
    }

    /// Takes away a header, a block, or some events.
    pub fn clear(&mut self, op: Op) {
        let Some(segment) = self.segment(op) else { return };
        let block = block_offset(op.pick(segment.used() + 1));
        let events = op.pick_other(EVENTS_PER_BLOCK);
        let range = match op.kind % 4 {
            0 => 0..64,
            1 => block..block + 64,
            2 => block..block + BLOCK_BYTES,
            _ => block + 64 + events * EVENT_BYTES..block + BLOCK_BYTES,
        };
        if let Some(bytes) = segment.edit().get_mut(range) {
            bytes.fill(0);
        }
    }

    /// Mends what the field's bits say: guards, block headers, a sealed header's counts, the header's checksum, or of block headers only
    /// their own checksums.
    pub fn repair(&mut self, op: Op) {
        let Some(segment) = self.segment(op) else { return };
        let bits = if op.field == 0 { 0xff } else { op.field };
        let room = segment.room();
        let index = segment.index;
        let bytes = segment.edit();
        if bytes.len() < 64 {
            return;
        }
        let header = |block: usize, bytes: &[u8]| bytes[block_offset(block)..][..64].iter().any(|byte| *byte != 0);
        let written = (0..room).take_while(|block| header(*block, bytes)).count();
        if bits & 1 != 0 {
            let created = segment_header::CREATED_TS_NS.of(bytes);
            for slot in 0..(written + 1).min(room) * EVENTS_PER_BLOCK {
                let at = slot_offset(slot);
                if bytes[at..][..event::EVENT_ID.size] != [0; 8] {
                    let value = guard(index, created, slot, &bytes[at..][..EVENT_BYTES]);
                    event::GUARD.put(&mut bytes[at..], value.into());
                }
            }
        }
        if bits & 2 != 0 {
            repair_blocks(bytes, written);
        } else if bits & 16 != 0 {
            // What a header says is believed, and wrong.
            (0..written).for_each(|block| repair_block_header(bytes, block));
        }
        if bits & 4 != 0 && segment_header::CLOSED_TS_NS.of(bytes) != 0 {
            repair_counts(bytes, written);
        }
        if bits & 8 != 0 {
            repair_segment_header(bytes);
        }
    }

    pub fn change_frames(&mut self, op: Op) {
        if let Some(segment) = self.segment(op) {
            segment.frame_ops.push(op);
            segment.changed = true;
        }
    }

    pub fn change_raw(&mut self, op: Op) {
        if let Some(segment) = self.segment(op) {
            segment.raw_ops.push(op);
            segment.changed = true;
        }
    }

    /// Brings the segments into their files' form.
    pub fn finish(&mut self) {
        for (name, segment) in self.segments.iter().filter(|(_, segment)| segment.changed) {
            let mut bytes = match segment.one_frame {
                None => segment.bytes.to_vec(),
                Some(one) => encode_frames(&segment.bytes, segment.used(), one, &segment.frame_ops),
            };
            for op in &segment.raw_ops {
                change_bytes(&mut bytes, *op);
            }
            self.files.insert(name.clone(), Arc::new(bytes));
        }
    }

    /// The log on a machine.
    pub fn machine(&self) -> SimulatedSystem {
        let machine = self.log.with_files(&self.files);
        for (path, mode, owned) in &self.directories {
            let path = Path::new(LOG).join(path);
            if machine.read_file(&path).is_none() {
                machine.make_directories(&path);
                machine.set_trust(&path, *mode, *owned);
            }
        }
        machine
    }

    /// Every event that stands in any place where events stand, by its id: nothing else may be given.
    pub fn events(&self) -> HashMap<u64, Vec<EventBytes>> {
        let mut events: HashMap<u64, Vec<EventBytes>> = HashMap::new();
        let mut add = |image: &[u8]| {
            // What a file does not hold of a block reads as zeros.
            let mut image = image.to_vec();
            image.resize(image.len() + BLOCK_BYTES, 0);
            for block in 0..image.len().saturating_sub(64).div_ceil(BLOCK_BYTES) {
                for slot in 0..EVENTS_PER_BLOCK {
                    let Some(bytes) = image.get(slot_offset(block * EVENTS_PER_BLOCK + slot)..) else { break };
                    let Some(event) = bytes.first_chunk::<EVENT_BYTES>() else { break };
                    if id_of(event) != 0 {
                        events.entry(id_of(event)).or_default().push(*event);
                    }
                }
            }
        };
        for (name, bytes) in &self.files {
            match self.segments.get(name).filter(|segment| segment.one_frame.is_some()) {
                Some(segment) => add(&segment.bytes),
                None if name.contains("FS.") => add(bytes),
                None if name.contains("slot.") => add(bytes.get(4096..).unwrap_or_default()),
                None => {}
            }
        }
        events
    }
}

/// Changes a file's bytes, whatever they are.
pub fn change_bytes(bytes: &mut Vec<u8>, op: Op) {
    let place = op.pick(bytes.len() + 1);
    match op.kind % 4 {
        0 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= op.value.to_le_bytes()[0].max(1);
            }
        }
        1 => bytes.truncate(place),
        2 => {
            let put = op.value.to_le_bytes();
            for (place, byte) in bytes.iter_mut().skip(place).zip(put) {
                *place = byte;
            }
        }
        _ => bytes.resize(bytes.len() + op.pick_other(600), op.field),
    }
}
