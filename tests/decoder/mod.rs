//! A second reading of FORMAT.md: an independent decoder of whole log directories, to be read beside the document.
//!
//! It shares no code with the library and does not name it. Everything is read into memory; every "if and only if" of
//! the document is checked, and an error names file, block, offset, what was expected and what is there.
//! [`decode_log`] holds what is true of every readable log, FlashStrike's included; [`check_written_by_walrec`] what
//! is true of what walrec writes; [`check_closed`] what is true after a clean close.

#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

pub mod crc32c;
pub mod fields;
pub mod frozen;
pub mod rules;
pub mod segment;
pub mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use rules::{History, check_closed, check_closed_after, check_written_after, check_written_by_walrec};
pub use segment::{Block, HeaderTrust, Segment, Stored};

/// An event as it lies in the log.
pub type EventBytes = [u8; 64];

/// Where something is wrong.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub file: &'a str,
    pub block: Option<usize>,
    pub offset: usize,
}

impl Place<'_> {
    /// The one form of every message about bytes.
    pub fn fault(&self, what: &str, expected: &str, actual: &str) -> String {
        let block = self.block.map_or_else(|| "segment header".to_owned(), |block| format!("block {block}"));
        format!("{}: {block}, offset {}: {what}: expected {expected}, actual {actual}", self.file, self.offset)
    }
}

/// `wal_meta.dat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub segment_index: u32,
    pub offset: u32,
    pub last_event_id: u64,
}

/// The line of `walrec.stage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageLine {
    /// `open`, or else `closed`.
    pub open: bool,
    pub incarnation: String,
    pub boot_id: String,
    pub stage_path: PathBuf,
}

/// Everything that a log directory holds.
#[derive(Clone, Debug)]
pub struct Log {
    pub dir: PathBuf,
    pub segments: Vec<Segment>,
    /// Every accepted event, in order.
    pub events: Vec<EventBytes>,
    /// `None`: missing or not 16 bytes, so that "nothing is known".
    pub meta: Option<Meta>,
    pub id: Option<String>,
    pub stage: Option<StageLine>,
    /// `.new`, `.lz4.tmp`, `.del`, `.tmp`.
    pub leftovers: Vec<String>,
    /// `.wal.lz4` beside a `.wal` that verifies whole, or a `.wal` that does not beside a `.lz4` that does.
    pub duplicates: Vec<String>,
    /// Entries of `quarantine/`.
    pub quarantine: Vec<String>,
    /// Everything that is no part of a log.
    pub foreign: Vec<String>,
}

/// The id of an event.
pub fn id_of(event: &EventBytes) -> u64 {
    fields::event::EVENT_ID.of(event)
}

impl Log {
    /// The last event's id; 0 when there is none.
    pub fn last_event_id(&self) -> u64 {
        self.events.last().map_or(0, id_of)
    }
}

/// What a name in a log directory is (FORMAT.md, "Names in a log directory").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    Hot(u32),
    Frozen(u32),
    Leftover,
    Meta,
    Id,
    Stage,
    Quarantine,
    /// The stage itself, when it fell back to the log directory.
    StageDirectory,
    Foreign,
}

/// The strict grammar of names.
pub fn judge_name(name: &str) -> Name {
    match name {
        "wal_meta.dat" => return Name::Meta,
        "walrec.id" => return Name::Id,
        "walrec.stage" => return Name::Stage,
        "quarantine" => return Name::Quarantine,
        "stage" => return Name::StageDirectory,
        "wal_meta.dat.tmp" | "walrec.id.tmp" | "walrec.stage.tmp" => return Name::Leftover,
        _ => {}
    }
    let Some((digits, suffix)) = name.strip_prefix("FS.").and_then(|rest| rest.split_once('.')) else {
        return Name::Foreign;
    };
    // "%08u": eight digits, or as many as the number needs.
    let canonical = digits.parse::<u32>().ok().filter(|index| format!("{index:08}") == digits);
    match (canonical, suffix) {
        (Some(index), "wal") => Name::Hot(index),
        (Some(index), "wal.lz4") => Name::Frozen(index),
        (Some(_), "new" | "lz4.tmp" | "del") => Name::Leftover,
        _ => Name::Foreign,
    }
}

/// Where a log's files are: a directory, or memory.
pub trait Files {
    /// The names in the log directory, sorted, or in a directory of it.
    fn names(&self, below: Option<&str>) -> Result<Vec<String>, String>;
    /// A file's bytes.
    fn read(&self, name: &str) -> Result<Vec<u8>, String>;
}

impl Files for Path {
    fn names(&self, below: Option<&str>) -> Result<Vec<String>, String> {
        let dir = below.map_or_else(|| self.to_owned(), |below| self.join(below));
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).map_err(|why| format!("{}: {why}", dir.display()))? {
            let entry = entry.map_err(|why| format!("{}: {why}", dir.display()))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        fs::read(self.join(name)).map_err(|why| format!("{name}: {why}"))
    }
}

/// "16-byte meta state ... missing or short: nothing is known".
fn decode_meta(bytes: &[u8]) -> Option<Meta> {
    let bytes: &[u8; 16] = bytes.try_into().ok()?;
    let position = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    Some(Meta {
        segment_index: u32::try_from(position >> 32).unwrap(),
        offset: u32::try_from(position & 0xffff_ffff).unwrap(),
        last_event_id: u64::from_le_bytes(bytes[8..].try_into().unwrap()),
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// "32 hex digits + newline".
fn decode_id(bytes: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(bytes);
    match text.strip_suffix('\n') {
        Some(digits) if is_hex(digits, 32) => Ok(digits.to_owned()),
        _ => Err(format!("walrec.id: offset 0: identity: expected 32 hex digits and a newline, actual {text:?}")),
    }
}

/// "one line: state, incarnation, boot id, stage path": `open` or `closed`, 16 bytes in hex, the kernel's boot id (a
/// UUID, with or without its hyphens), an absolute path that may hold spaces, or `stage` for the log directory's own. Spaces behind the path fill a sector.
pub fn decode_stage_line(dir: &Path, bytes: &[u8]) -> Result<StageLine, String> {
    let text = String::from_utf8_lossy(bytes);
    let line = || {
        let line = text.strip_suffix('\n')?.trim_end_matches(' ');
        let mut words = line.splitn(4, ' ');
        let state = words.next()?;
        let incarnation = words.next()?;
        let boot_id = words.next()?;
        let path = words.next()?;
        let open = match state {
            "open" => true,
            "closed" => false,
            _ => return None,
        };
        let hyphens_right = match boot_id.len() {
            32 => true,
            36 => [8, 13, 18, 23].iter().all(|place| boot_id.as_bytes()[*place] == b'-'),
            _ => false,
        };
        (is_hex(incarnation, 32)
            && hyphens_right
            && is_hex(&boot_id.replace('-', ""), 32)
            && (path.starts_with('/') || path == "stage")
            && !path.contains('\n'))
        .then(|| StageLine {
            open,
            incarnation: incarnation.to_owned(),
            boot_id: boot_id.to_owned(),
            stage_path: dir.join(path),
        })
    };
    line().ok_or_else(|| {
        format!(
            "walrec.stage: offset 0: line: expected \"open|closed INCARNATION BOOT-ID /STAGE/PATH\" and a newline, \
             actual {text:?}"
        )
    })
}

/// The two files that one index can have.
#[derive(Default)]
struct Forms {
    hot: Option<String>,
    frozen: Option<String>,
}

/// Decodes a log directory, and rejects what FORMAT.md does not allow in any log.
pub fn decode_log(dir: &Path) -> Result<Log, String> {
    decode_log_of(dir, dir)
}

/// The same for files that lie elsewhere; `dir` is where they are said to be.
pub fn decode_log_of(dir: &Path, all: &(impl Files + ?Sized)) -> Result<Log, String> {
    let mut log = Log {
        dir: dir.to_owned(),
        segments: Vec::new(),
        events: Vec::new(),
        meta: None,
        id: None,
        stage: None,
        leftovers: Vec::new(),
        duplicates: Vec::new(),
        quarantine: Vec::new(),
        foreign: Vec::new(),
    };
    let mut files = BTreeMap::<u32, Forms>::new();
    for name in all.names(None)? {
        match judge_name(&name) {
            Name::Hot(index) => files.entry(index).or_default().hot = Some(name),
            Name::Frozen(index) => files.entry(index).or_default().frozen = Some(name),
            Name::Leftover => log.leftovers.push(name),
            Name::Meta => log.meta = decode_meta(&all.read(&name)?),
            Name::Id => log.id = Some(decode_id(&all.read(&name)?)?),
            Name::Stage => log.stage = Some(decode_stage_line(dir, &all.read(&name)?)?),
            Name::Quarantine => log.quarantine = all.names(Some(&name))?,
            Name::StageDirectory => {}
            Name::Foreign => log.foreign.push(name),
        }
    }
    for (index, files) in files {
        if let Some(previous) = log.segments.last()
            && index != previous.index + 1
        {
            return Err(format!(
                "FS.{index:08}: segment index: expected {}, actual {index}: a segment is missing",
                previous.index + 1
            ));
        }
        let segment = decode_files(all, index, files, &mut log)?;
        log.segments.push(segment);
    }
    check_order_of_writes(&log)?;
    if let Some(meta) = log.meta
        && meta.last_event_id > log.last_event_id()
    {
        return Err(format!(
            "wal_meta.dat: offset 8: last_event_id: expected at most the log's last {}, actual {}",
            log.last_event_id(),
            meta.last_event_id
        ));
    }
    Ok(log)
}

/// "Both present at open: the `.wal` if it verifies whole, else the `.lz4` if it does, else corrupt."
fn decode_files(all: &(impl Files + ?Sized), index: u32, files: Forms, log: &mut Log) -> Result<Segment, String> {
    let before = segment::Before {
        last_event_id: log.last_event_id(),
        chained_checksum: log.segments.last().map(|previous| previous.chained_checksum),
    };
    let kept = log.events.len();
    let mut first_fault = None;
    let mut found = None;
    for (name, frozen) in [(files.hot, false), (files.frozen, true)] {
        let Some(name) = name else { continue };
        if found.is_some() {
            log.duplicates.push(name);
            continue;
        }
        match decode_file(all, index, &name, frozen, before, &mut log.events) {
            Ok(segment) => found = Some(segment),
            Err(why) => {
                log.events.truncate(kept);
                log.duplicates.push(name);
                first_fault.get_or_insert(why);
            }
        }
    }
    found.ok_or_else(|| first_fault.expect("an index has a file"))
}

fn decode_file(
    all: &(impl Files + ?Sized),
    index: u32,
    name: &str,
    frozen: bool,
    before: segment::Before,
    events: &mut Vec<EventBytes>,
) -> Result<Segment, String> {
    let bytes = all.read(name)?;
    let file_bytes = bytes.len() as u64;
    if frozen {
        let (content, stored) = frozen::thaw(name, &bytes)?;
        segment::decode_segment(name, index, stored, &content, file_bytes, before, events)
    } else {
        segment::capacity_of(name, file_bytes)?;
        segment::decode_segment(name, index, Stored::Hot, &bytes, file_bytes, before, events)
    }
}

/// "No byte of an event of segment N+1 is written to its file before N's last block, partial or not, is finalized and
/// N is synced": below a segment with events nothing is open or torn. "A sealed segment is in use, also without events."
fn check_order_of_writes(log: &Log) -> Result<(), String> {
    // What pads the file is no part of the segment.
    let dirty = |segment: &Segment| {
        segment.first_dirty_byte.filter(|offset| !segment.sealed && *offset < segment::block_offset(segment.capacity))
    };
    let in_use = |segment: &Segment| segment.sealed || !segment.events.is_empty() || dirty(segment).is_some();
    let Some(newest) = log.segments.iter().rposition(in_use) else { return Ok(()) };
    for segment in &log.segments[..newest] {
        if let Some(offset) = dirty(segment) {
            let place = Place { file: &segment.name, block: None, offset };
            return Err(place.fault("byte above the events of an unsealed segment below another", "0", "not 0"));
        }
        if segment.events.is_empty() && !segment.sealed {
            return Err(format!("{}: an unsealed segment without events below one that is in use", segment.name));
        }
        let open = segment.blocks.iter().find(|block| !block.finalized);
        if open.is_some() || segment.torn.is_some() {
            let at = open.map_or(segment.blocks.len(), |block| block.index);
            let text = segment.torn.as_deref().unwrap_or("events in a block that is not finalized");
            return Err(Place { file: &segment.name, block: Some(at), offset: segment::block_offset(at) }.fault(
                "block below a segment in use",
                "finalized",
                text,
            ));
        }
    }
    Ok(())
}
