//! The small sound logs that are damaged, forged and fuzzed, each on a simulated machine of its own. Written by the encoder of
//! `tests/decoder`; no file of them comes from the library.

#![allow(dead_code, reason = "each crate that includes this uses its own part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use walrec::recorder::{WorkerKind, open_stepped};
use walrec::storage::simulated::{SimulatedSystem, Snapshot};

use super::decoder::segment::{EVENT_BYTES, EVENTS_PER_BLOCK, block_offset, slot_offset};
use super::decoder::support::golden_event;
use super::decoder::{EventBytes, Files, Name, id_of, judge_name};
use super::encode::{Plan, sidecars};
use super::examine::{LOG, config};
use super::frames::{Frame, frames_of_segment};
use super::with_library::engine_event;

/// Files by their names in the log directory; in a directory of it with a slash, elsewhere with their whole path.
pub type FileMap = BTreeMap<String, Arc<Vec<u8>>>;

/// The same, for the independent decoder.
pub struct Held<'a>(pub &'a FileMap);

impl Files for Held<'_> {
    fn names(&self, below: Option<&str>) -> Result<Vec<String>, String> {
        let names = self.0.keys().filter_map(|name| match (below, name.split_once('/')) {
            (None, None) => Some(name.clone()),
            (Some(below), Some((directory, name))) if below == directory => Some(name.to_owned()),
            _ => None,
        });
        Ok(names.collect())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        self.0.get(name).map(|bytes| bytes.to_vec()).ok_or_else(|| format!("{name}: not there"))
    }
}

/// How a segment's file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Hot,
    /// As walrec freezes.
    Frames,
    /// As `lz4` compresses.
    OneFrame,
}

/// A sound log.
pub struct SoundLog {
    pub name: &'static str,
    pub plans: Vec<Plan>,
    pub files: FileMap,
    pub last_event_id: u64,
    snapshot: Snapshot,
}

/// Blocks there is room for, and the events of each.
type Shape<'a> = (usize, &'a [usize], Form);

impl SoundLog {
    fn new(name: &'static str, shapes: &[Shape<'_>], guards: bool, open_events: Option<usize>) -> Self {
        let mut plans: Vec<Plan> = Vec::new();
        let mut files = FileMap::new();
        for (index, (capacity, blocks, form)) in (0..).zip(shapes) {
            let is_open = open_events.filter(|_| index as usize + 1 == shapes.len());
            let previous = plans.last();
            let plan = Plan {
                index,
                capacity: *capacity,
                created_ts_ns: 1_000 + 10 * u64::from(index),
                closed_ts_ns: if is_open.is_some() { 0 } else { 1_005 + 10 * u64::from(index) },
                blocks: blocks.to_vec(),
                open_events: is_open.unwrap_or(0),
                first_event_id: previous.map_or(1, Plan::next_event_id),
                guards,
                link: previous.filter(|_| guards).map(Plan::chained_checksum),
            };
            let bytes = plan.encode();
            let (file, bytes) = match form {
                Form::Hot => (format!("FS.{index:08}.wal"), bytes),
                Form::Frames => (format!("FS.{index:08}.wal.lz4"), many_frames(&bytes, blocks.len())),
                Form::OneFrame => (format!("FS.{index:08}.wal.lz4"), one_frame(&bytes, blocks.len())),
            };
            files.insert(file, Arc::new(bytes));
            plans.push(plan);
        }
        let last = plans.last().unwrap();
        let last_event_id = last.next_event_id() - 1;
        let place = match last.open_events {
            0 => (last.blocks.len() - 1) * EVENTS_PER_BLOCK + last.blocks.last().unwrap(),
            open => last.blocks.len() * EVENTS_PER_BLOCK + open,
        };
        let gone = Path::new("/dev/shm/walrec-00112233445566778899aabbccddeeff");
        for (name, bytes) in sidecars(gone, last.index, slot_offset(place - 1) + EVENT_BYTES, last_event_id) {
            files.insert(name.to_owned(), Arc::new(bytes));
        }
        let snapshot = machine_of(&files).snapshot();
        Self { name, plans, files, last_event_id, snapshot }
    }

    /// A machine with the log, for itself.
    pub fn machine(&self) -> SimulatedSystem {
        self.snapshot.process_crash()
    }

    /// A machine where one of its files holds other bytes.
    pub fn with(&self, file: &str, bytes: &[u8]) -> SimulatedSystem {
        let machine = self.machine();
        machine.write_file(Path::new(LOG).join(file), bytes);
        machine
    }

    /// A machine with other files in part: those that differ are written, those that are no more removed.
    pub fn with_files(&self, files: &FileMap) -> SimulatedSystem {
        let machine = self.machine();
        for (name, bytes) in files {
            if !self.files.get(name).is_some_and(|old| Arc::ptr_eq(old, bytes)) {
                machine.write_file(Path::new(LOG).join(name), bytes);
            }
        }
        for name in self.files.keys().filter(|name| !files.contains_key(*name)) {
            machine.remove_tree(Path::new(LOG).join(name));
        }
        machine
    }

    /// Whether this very event was written.
    pub fn holds(&self, event: &EventBytes) -> bool {
        let id = id_of(event);
        (1..=self.last_event_id).contains(&id) && golden_event(id)[..60] == event[..60]
    }

    /// The segments' files, in order.
    pub fn segments(&self) -> impl Iterator<Item = (&Plan, &str, &Arc<Vec<u8>>)> {
        let files = self.files.iter().filter(|(name, _)| name.starts_with("FS."));
        self.plans.iter().zip(files).map(|(plan, (name, bytes))| (plan, name.as_str(), bytes))
    }
}

/// A segment as walrec freezes it.
pub fn many_frames(bytes: &[u8], blocks: usize) -> Vec<u8> {
    frames_of_segment(bytes, blocks).iter().flat_map(Frame::encode).collect()
}

/// A segment as `lz4` compresses it.
pub fn one_frame(bytes: &[u8], blocks: usize) -> Vec<u8> {
    Frame { content_size: None, ..Frame::of(&bytes[..block_offset(blocks)]) }.encode()
}

/// Whether a file is a frozen segment's, by its name.
pub fn is_frozen(name: &str) -> bool {
    matches!(judge_name(name), Name::Frozen(_))
}

/// A new machine with these files as its log.
pub fn machine_of(files: &FileMap) -> SimulatedSystem {
    let machine = SimulatedSystem::new(7);
    machine.make_directories(LOG);
    for (name, bytes) in files {
        machine.write_file(Path::new(LOG).join(name), bytes);
    }
    machine
}

/// Sealed segments, linked and guarded.
pub fn sealed() -> SoundLog {
    SoundLog::new("sealed", &[(2, &[256, 4], Form::Hot), (3, &[9, 2], Form::Hot), (1, &[9], Form::Hot)], true, None)
}

/// One small segment.
pub fn small() -> SoundLog {
    SoundLog::new("small", &[(2, &[5, 3], Form::Hot)], true, None)
}

/// One small segment that was being written.
pub fn small_open() -> SoundLog {
    SoundLog::new("small open", &[(1, &[2], Form::Hot), (2, &[], Form::Hot)], true, Some(9))
}

/// Two segments without guards and links, with partial blocks within, as FlashStrike writes.
pub fn unguarded() -> SoundLog {
    SoundLog::new("unguarded", &[(2, &[3, 5], Form::Hot), (3, &[1, 9, 7], Form::Hot)], false, None)
}

/// A recorder was killed: the last segment is open.
pub fn open_tail() -> SoundLog {
    SoundLog::new("open tail", &[(1, &[8], Form::Hot), (16, &[256], Form::Hot)], true, Some(30))
}

/// Frozen segments in both forms, and a hot one of the size that is written on.
pub fn frozen() -> SoundLog {
    SoundLog::new("frozen", &[(2, &[5, 3], Form::Frames), (2, &[4], Form::OneFrame), (16, &[6], Form::Hot)], true, None)
}

/// The same with a small hot one.
pub fn small_frozen() -> SoundLog {
    SoundLog::new(
        "small frozen",
        &[(2, &[5, 3], Form::Frames), (2, &[4], Form::OneFrame), (1, &[6], Form::Hot)],
        true,
        None,
    )
}

/// A frozen segment of two frames of blocks, so that readers enter it in its middle.
pub fn many_frames_log() -> SoundLog {
    SoundLog::new("many frames", &[(70, &[2; 70], Form::Frames), (1, &[1], Form::Hot)], false, None)
}

/// A recorder was killed with most of its events in the stage: the one log that the library writes itself.
pub fn staged() -> SoundLog {
    const LAST: u64 = 40;
    let machine = SimulatedSystem::new(7);
    let (mut writer, manager) = open_stepped(Arc::new(machine.clone()), Path::new(LOG), &config(false)).unwrap();
    for id in 1..=LAST {
        writer.append(&engine_event(id)).unwrap();
        if id == LAST / 4 {
            manager.step(WorkerKind::Flusher).unwrap();
        }
    }
    let machine = machine.snapshot().process_crash();
    let mut files = FileMap::new();
    let stage = format!("/dev/shm/{}", machine.list("/dev/shm").unwrap()[0]);
    for (directory, prefix) in [(LOG, String::new()), (&*stage, format!("{stage}/"))] {
        for name in machine.list(directory).unwrap() {
            let bytes = machine.read_file(Path::new(directory).join(&name)).unwrap();
            files.insert(format!("{prefix}{name}"), Arc::new(bytes));
        }
    }
    SoundLog { name: "staged", plans: Vec::new(), files, last_event_id: LAST, snapshot: machine.snapshot() }
}
