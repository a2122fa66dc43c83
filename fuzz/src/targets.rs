//! The targets: what a fuzzer may change, and what must hold of the log that comes out.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::decoder::frozen::content_of;
use super::decoder::segment::xxh64;
use super::decoder::{EventBytes, decode_log_of, id_of};
use super::examine::{Beside, Found, LOG, Truth, examine, examine_reading, read_all};
use super::frames::Frame;
use super::logs::{self, FileMap, Held, SoundLog, is_frozen};
use super::script::{self, Op};
use super::world::{SegmentFile, World, segments_of};

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Hot segments.
    Segment,
    /// Frozen segments.
    Frozen,
    /// `wal_meta.dat`, `walrec.id`, `walrec.stage`, and the stage they lead to.
    SmallFiles,
    /// Everything at once, and names.
    Directory,
}

/// One kind of change.
type Change = fn(&mut World<'_>, Op);

const SEGMENT_CHANGES: [Change; 11] = [
    |world, op| world.repair(op),
    |world, op| world.put_segment_header(op),
    |world, op| world.put_block_header(op),
    |world, op| world.put_event(op),
    |world, op| world.poke(op),
    |world, op| world.resize(op),
    |world, op| world.copy_part(op),
    |world, op| world.clear(op),
    |world, op| world.put_block_header(op),
    |world, op| world.change_raw(op),
    |world, op| world.put_meta(op),
];
const FROZEN_CHANGES: [Change; 9] = [
    |world, op| world.repair(op),
    |world, op| world.change_frames(Op { code: 0, ..op }),
    |world, op| world.change_frames(Op { code: 1, ..op }),
    |world, op| world.put_segment_header(op),
    |world, op| world.put_block_header(op),
    |world, op| world.put_event(op),
    |world, op| world.copy_part(op),
    |world, op| world.clear(op),
    |world, op| world.change_raw(op),
];
const SMALL_CHANGES: [Change; 9] = [
    |world, op| world.repair(op),
    |world, op| world.change_small_file(op),
    |world, op| world.put_meta(op),
    |world, op| world.put_control_page(op),
    |world, op| world.put_control_page(op),
    |world, op| world.change_slot(op),
    |world, op| world.put_stage_record(op),
    |world, op| world.make_directory(op),
    |world, op| world.put_event(op),
];
const DIRECTORY_CHANGES: [Change; 13] = [
    |world, op| world.repair(op),
    |world, op| world.change_names(op),
    |world, op| world.change_names(op),
    |world, op| world.make_file(op),
    |world, op| world.make_directory(op),
    |world, op| world.change_small_file(op),
    |world, op| world.put_stage_record(op),
    |world, op| world.put_control_page(op),
    |world, op| world.put_segment_header(op),
    |world, op| world.put_block_header(op),
    |world, op| world.resize(op),
    |world, op| world.copy_part(op),
    |world, op| world.change_frames(op),
];

/// How closely an input is looked at: wholly, by reading alone, or by one of two ways of reading beside the strict one.
enum Depth {
    Salvaging,
    Verifying,
    Reading,
    All,
}

struct Base {
    log: SoundLog,
    segments: BTreeMap<String, SegmentFile>,
}

fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let logs = [
            logs::sealed(),
            logs::unguarded(),
            logs::open_tail(),
            logs::frozen(),
            logs::many_frames_log(),
            logs::staged(),
            logs::small(),
            logs::small_open(),
            logs::small_frozen(),
        ];
        logs.into_iter().map(|log| Base { segments: segments_of(&log), log }).collect()
    })
}

impl Target {
    pub const ALL: [Self; 4] = [Self::Segment, Self::Frozen, Self::SmallFiles, Self::Directory];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Frozen => "frozen",
            Self::SmallFiles => "small_files",
            Self::Directory => "directory",
        }
    }

    fn changes(self) -> &'static [Change] {
        match self {
            Self::Segment => &SEGMENT_CHANGES,
            Self::Frozen => &FROZEN_CHANGES,
            Self::SmallFiles => &SMALL_CHANGES,
            Self::Directory => &DIRECTORY_CHANGES,
        }
    }

    /// The logs to begin with, by their places in [`bases`]: small ones, and larger ones of the same kinds.
    const fn logs(self) -> [&'static [usize]; 2] {
        match self {
            Self::Segment => [&[6, 7, 1], &[0, 2, 0]],
            Self::Frozen => [&[8, 8], &[3, 4]],
            Self::SmallFiles => [&[5, 7, 5, 6], &[5, 7, 5, 6]],
            Self::Directory => [&[6, 1, 7, 8, 5, 1, 8, 7], &[6, 1, 0, 3, 5, 1, 3, 2]],
        }
    }

    /// The log to begin with. A larger one by chance, not by the input's choice: a fuzzer would choose what runs longest.
    fn base(self, data: &[u8], head: u8) -> &'static Base {
        let logs = self.logs()[usize::from(xxh64(data, 1).is_multiple_of(16))];
        &bases()[logs[usize::from(head) % logs.len()]]
    }

    /// How closely an input is looked at. By chance, as its log.
    fn depth(self, data: &[u8]) -> Depth {
        // A plain log is always looked at wholly.
        let word = if data.len() <= script::HEAD_BYTES { 0 } else { xxh64(data, 0) };
        let (all, reading) = match self {
            Self::Segment | Self::Frozen => (64, 16),
            // An opening is what these are about.
            Self::SmallFiles | Self::Directory => (8, 4),
        };
        if word.is_multiple_of(all) {
            Depth::All
        } else if word.is_multiple_of(reading) {
            Depth::Reading
        } else if word.is_multiple_of(2) {
            Depth::Salvaging
        } else {
            Depth::Verifying
        }
    }

    /// Changes an input in a way that keeps its form; gives its new size.
    pub fn mutate(self, data: &mut [u8], size: usize, seed: u32) -> usize {
        script::mutate(data, size, seed, u8::try_from(self.changes().len()).unwrap(), 0)
    }

    /// Makes the log that the input tells of, and holds it to the rules.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn run(self, data: &[u8]) -> Result<Found, String> {
        let (head, ops) = script::parse(data);
        let base = self.base(data, head[0]);
        let mut world = World::new(&base.log, &base.segments);
        for op in &ops {
            let changes = self.changes();
            changes[usize::from(op.code) % changes.len()](&mut world, *op);
        }
        world.finish();
        let machine = world.machine();
        let events = OnceCell::new();
        let truth = |event: &EventBytes| {
            // Most are as they were written; only others are looked for.
            base.log.holds(event) || {
                let there = events.get_or_init(|| world.events()).get(&id_of(event));
                there.is_some_and(|there| there.iter().any(|one| one[..60] == event[..60]))
            }
        };
        // The first change is the one that makes what was changed believed.
        let forged = ops.iter().any(|op| usize::from(op.code).is_multiple_of(self.changes().len()));
        let truth = Truth { holds: &truth, forged };
        let depth = self.depth(data);
        let found = match depth {
            Depth::All => examine(&machine, truth),
            Depth::Reading => examine_reading(&machine, truth),
            Depth::Salvaging => read_all(&machine, truth, Beside { salvage: true, ..Beside::default() }),
            Depth::Verifying => read_all(&machine, truth, Beside { verify: true, ..Beside::default() }),
        }?;
        if matches!(self, Self::Segment | Self::Frozen) && !matches!(depth, Depth::Salvaging) {
            hold_to_decoder(&world, &found, forged)?;
        }
        Ok(found)
    }
}

/// The independent decoder reads the same events, or objects too. Where ids were forged across segments walrec may object alone: it takes
/// a segment whose events do not follow for one in use all the same.
fn hold_to_decoder(world: &World<'_>, found: &Found, forged: bool) -> Result<(), String> {
    let mut decoded = decode_log_of(Path::new(LOG), &Held(&world.files));
    if decoded.is_err() {
        // It knows the two forms that are written; the document allows frames cut anywhere.
        decoded = decode_log_of(Path::new(LOG), &Held(&in_one_frame(world)));
    }
    match (decoded, &found.strict.error) {
        (Ok(log), None) if log.events == found.strict.events => Ok(()),
        (Ok(log), None) => {
            Err(format!("the decoder reads {} events, walrec {}", log.events.len(), found.strict.events.len()))
        }
        (Ok(_), Some(_)) if forged => Ok(()),
        // An offset of 0 is no LZ4; the C library copies what is there, and what comes out may hold.
        (Ok(_), Some(why)) if why.contains("OffsetZero") => Ok(()),
        (Ok(log), Some(why)) => Err(format!("the decoder reads {} events, walrec objects: {why}", log.events.len())),
        (Err(why), None) => {
            Err(format!("walrec reads {} events, the decoder objects: {why}", found.strict.events.len()))
        }
        (Err(_), Some(_)) => Ok(()),
    }
}

/// The files, with every frozen segment as one frame, if its frames decode.
fn in_one_frame(world: &World<'_>) -> FileMap {
    let mut files = world.files.clone();
    for (name, bytes) in &mut files {
        if let Some(content) = Some(&*bytes).filter(|_| is_frozen(name)).and_then(|bytes| content_of(name, bytes).ok())
        {
            *bytes = Arc::new(Frame { content_size: None, ..Frame::of(&content) }.encode());
        }
    }
    files
}
