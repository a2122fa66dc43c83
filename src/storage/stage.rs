//! The stage: slots in shared memory that hold the images of open segments.
//!
//! A slot is one file: a control page, then the exact image of a segment's file, so that byte x of the segment lies at
//! `PAGE_BYTES + x`. It is mapped once, at open, and used again and again until the recorder is dropped.
//!
//! Who may touch what, and when (the rule that all unsafe code on slots stands on):
//! 1. State Free: the preparer alone. It zeroes the image, writes the identity, and sets Live last (release).
//! 2. Live, slots at and above the published count: the append thread alone.
//! 3. Live, bytes below the published count: nobody writes bytes 0..60 of an event again; the flusher alone writes
//!    guards and block headers. Other threads may read event ids there, as atomics.
//! 4. A slot becomes Free again only after the append thread has left it and the flusher has made all of it durable.
//!
//! Crash story: a killed process leaves its stores in the page cache of the tmpfs, in program order, so a count that covers an
//! event proves the event. A power cut leaves nothing. The control page says which boot, which opening of the log (the
//! incarnation) and which directory the slot belongs to; a page that is being rewritten is Free, and says nothing.
#![allow(unsafe_code, reason = "atomics and slices over mapped memory, by the rule above")]

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::error::{Error, Place};
use super::mapping::Mapping;
use super::{Access, Directory, DirectoryIdentity, File, System};
use crate::format::{Event, Geometry, Id128, PAGE_BYTES};
use crate::sync::{LINE_BYTES, fetch_for_write};

/// The first eight bytes of a control page.
const MAGIC: u64 = u64::from_le_bytes(*b"walrecst");
/// The layout below.
const LAYOUT: u32 = 1;
const FREE: u32 = 0;
const LIVE: u32 = 1;

/// Offsets in the control page. Words written by different threads lie on lines of their own, two lines apart.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const LAYOUT: usize = 8;
    pub(super) const STATE: usize = 12;
    pub(super) const BOOT: usize = 16;
    pub(super) const INCARNATION: usize = 32;
    pub(super) const DEVICE: usize = 48;
    pub(super) const INODE: usize = 56;
    pub(super) const SEGMENT_INDEX: usize = 64;
    pub(super) const NUM_BLOCKS: usize = 68;
    pub(super) const CREATED: usize = 72;
    /// Append thread, at activation: id of the last event before this segment.
    pub(super) const PREVIOUS_LAST: usize = 248;
    /// Append thread, each append.
    pub(super) const PUBLISHED: usize = 256;
    /// Append thread, at rotation: 1 when the count is final.
    pub(super) const WRITTEN: usize = 264;
    /// Flusher.
    pub(super) const DURABLE: usize = 512;
    /// Whoever poisons.
    pub(super) const POISON: usize = 768;
}

/// Which recorder a slot belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageIdentity {
    /// This boot of the machine.
    pub boot: Id128,
    /// This opening of the log.
    pub incarnation: Id128,
    /// The log directory.
    pub directory: DirectoryIdentity,
}

/// Which segment a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSegment {
    /// The segment's index.
    pub segment_index: u32,
    /// The segment's creation time.
    pub created_ts_ns: u64,
    /// The segment's shape.
    pub geometry: Geometry,
}

/// One slot of the pool, mapped.
#[derive(Debug)]
pub struct Slot {
    mapping: Mapping,
    file: Box<dyn File>,
}

impl Slot {
    fn atomic_u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the mapping covers the offset, is page-aligned and lives as long as `self`; offsets are multiples of 8. Where another
        // thread may look at a word while it is stored, both are atomic.
        unsafe { AtomicU64::from_ptr(self.mapping.as_ptr().add(offset).cast()) }
    }

    fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as above, with multiples of 4.
        unsafe { AtomicU32::from_ptr(self.mapping.as_ptr().add(offset).cast()) }
    }

    /// Events published: stored by the append thread (release), loaded by everyone (acquire).
    #[must_use]
    pub fn published(&self) -> &AtomicU64 {
        self.atomic_u64(at::PUBLISHED)
    }

    /// Id of the last event before this segment: stored by the append thread before it publishes here.
    #[must_use]
    pub fn previous_last_event_id(&self) -> &AtomicU64 {
        self.atomic_u64(at::PREVIOUS_LAST)
    }

    /// 1 once the count is final: stored by the append thread (release), loaded by the flusher (acquire).
    #[must_use]
    pub fn written(&self) -> &AtomicU32 {
        self.atomic_u32(at::WRITTEN)
    }

    /// Id of the last durable event of the log, as of this slot's turn: stored by the flusher, read by other processes.
    #[must_use]
    pub fn durable_event_id(&self) -> &AtomicU64 {
        self.atomic_u64(at::DURABLE)
    }

    /// Fetches what the append thread stores to when it comes to this slot: its words, and the image's first `bytes`.
    pub fn fetch_for_appends(&self, bytes: usize) {
        fetch_for_write(self.published());
        fetch_for_write(self.previous_last_event_id());
        for offset in (0..bytes).step_by(LINE_BYTES) {
            fetch_for_write(self.image().as_ptr().wrapping_add(offset));
        }
    }

    /// Not 0 once the recorder is poisoned; for readers and post-mortems.
    #[must_use]
    pub fn poison(&self) -> &AtomicU32 {
        self.atomic_u32(at::POISON)
    }

    /// The image's first byte; page-aligned.
    #[must_use]
    pub fn image(&self) -> NonNull<u8> {
        // SAFETY: the mapping is longer than its control page, and not null.
        unsafe { NonNull::new_unchecked(self.mapping.as_ptr().add(PAGE_BYTES)) }
    }

    /// Bytes of the image: whole pages.
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        self.mapping.len() - PAGE_BYTES
    }

    /// The id of the event in slot `place` of the segment, which must be below the published count.
    #[must_use]
    pub fn event_id(&self, place: u32) -> u64 {
        let offset = PAGE_BYTES + Geometry::event_offset(place) + std::mem::offset_of!(Event, event_id);
        assert!(offset + 8 <= self.mapping.len(), "slot beyond the image");
        self.atomic_u64(offset).load(Ordering::Relaxed)
    }

    /// A part of the image, to read.
    ///
    /// # Safety
    /// By the rule at the top of this file nobody writes these bytes while the slice lives.
    #[must_use]
    pub unsafe fn bytes(&self, begin: usize, end: usize) -> &[u8] {
        assert!(begin <= end && end <= self.image_bytes(), "range outside the image");
        // SAFETY: inside the mapping; unchanging by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.image().as_ptr().add(begin), end - begin) }
    }

    /// A part of the image, to write.
    ///
    /// # Safety
    /// By the rule at the top of this file these bytes belong to the caller while the slice lives.
    #[must_use]
    #[allow(clippy::mut_from_ref, reason = "ownership of the bytes is by the stage's rule, not by the borrow")]
    pub unsafe fn bytes_mut(&self, begin: usize, end: usize) -> &mut [u8] {
        assert!(begin <= end && end <= self.image_bytes(), "range outside the image");
        // SAFETY: inside the mapping; the caller's alone by its promise.
        unsafe { std::slice::from_raw_parts_mut(self.image().as_ptr().add(begin), end - begin) }
    }

    /// Zeroes the first `end` bytes of the image, word by word: whoever asks for the appended position may still look at an id there,
    /// and will drop what it saw.
    ///
    /// # Safety
    /// The slot is Free, the caller its preparer.
    pub unsafe fn zero(&self, end: usize) {
        assert!(end <= self.image_bytes(), "range outside the image");
        for offset in (0..end).step_by(8) {
            self.atomic_u64(PAGE_BYTES + offset).store(0, Ordering::Relaxed);
        }
    }

    /// Takes the slot out of use: from here on the page says nothing of a segment.
    pub fn set_free(&self) {
        // Release: what the slot held was made durable before it is forgotten.
        self.atomic_u32(at::STATE).store(FREE, Ordering::Release);
    }

    /// The part of the control page that nobody shares as atomics.
    ///
    /// # Safety
    /// The slot is Free, the caller its preparer.
    #[allow(clippy::mut_from_ref, reason = "ownership of the bytes is by the stage's rule, not by the borrow")]
    unsafe fn page_mut(&self) -> &mut [u8] {
        // SAFETY: the mapping is longer than its control page, which is the caller's by its promise.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.as_ptr(), at::PREVIOUS_LAST) }
    }

    /// Gives a free slot to a new opening, of whose log so much is durable. A reader in another process may find no Live slot, and
    /// on a full disk no later meta state.
    ///
    /// # Safety
    /// As for [`Self::set_live`].
    pub unsafe fn set_owner(&self, identity: &StageIdentity, durable_event_id: u64) {
        // SAFETY: by the caller's promise.
        let page = unsafe { self.page_mut() };
        let mut put = |offset: usize, bytes: &[u8]| page[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(at::LAYOUT, &LAYOUT.to_le_bytes());
        put(at::BOOT, &identity.boot.0);
        put(at::INCARNATION, &identity.incarnation.0);
        put(at::DEVICE, &identity.directory.device.to_le_bytes());
        put(at::INODE, &identity.directory.inode.to_le_bytes());
        put(at::MAGIC, &MAGIC.to_le_bytes());
        self.durable_event_id().store(durable_event_id, Ordering::Release);
        self.poison().store(0, Ordering::Relaxed);
    }

    /// Makes a free slot of this opening Live, with `published` events in its image already, which follow `previous_last_event_id`.
    ///
    /// # Safety
    /// The slot is Free, the caller its preparer.
    pub unsafe fn set_live(&self, segment: &SlotSegment, published: u32, previous_last_event_id: u64) {
        // SAFETY: by the caller's promise.
        let page = unsafe { self.page_mut() };
        let mut put = |offset: usize, bytes: &[u8]| page[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(at::SEGMENT_INDEX, &segment.segment_index.to_le_bytes());
        put(at::NUM_BLOCKS, &segment.geometry.num_blocks().to_le_bytes());
        put(at::CREATED, &segment.created_ts_ns.to_le_bytes());
        self.previous_last_event_id().store(previous_last_event_id, Ordering::Relaxed);
        self.written().store(0, Ordering::Relaxed);
        self.published().store(u64::from(published), Ordering::Relaxed);
        // Release: a Live page is whole. What it says is durable is not touched: it only grows.
        self.atomic_u32(at::STATE).store(LIVE, Ordering::Release);
    }

    /// Whether the slot's file still has a name: a careless cleaner of /dev/shm takes it away.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.file.attributes().is_ok_and(|attributes| attributes.links > 0)
    }
}

/// What a control page read from a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlPage {
    /// Never used.
    Blank,
    /// Of no segment now. It belongs to an opening still, of whose log this was durable.
    Free(StageIdentity, u64),
    /// Written by a library with another layout.
    UnknownLayout(u32),
    /// A segment's image. Counts and ids are claims, to be checked against geometry and order.
    Live(LivePage),
}

/// The claims of a Live control page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivePage {
    /// Whose it is.
    pub identity: StageIdentity,
    /// Index of the segment.
    pub segment_index: u32,
    /// Blocks of the segment.
    pub num_blocks: u32,
    /// Creation time of the segment.
    pub created_ts_ns: u64,
    /// Id of the last event before this segment.
    pub previous_last_event_id: u64,
    /// Events in the image.
    pub published: u64,
    /// Whether the count is final.
    pub written: bool,
    /// Id of the last durable event.
    pub durable_event_id: u64,
    /// Whether the recorder has failed.
    pub poisoned: bool,
}

impl ControlPage {
    /// Reads the page of a slot's file; a file too short for one is unused.
    ///
    /// # Errors
    /// The file's.
    pub fn read(file: &dyn File) -> io::Result<Self> {
        let mut page = [0_u8; PAGE_BYTES];
        if file.read_up_to(&mut page, 0)? < PAGE_BYTES {
            return Ok(Self::Blank);
        }
        let word = |offset: usize| crate::format::u64_at(&page, offset);
        let half = |offset: usize| crate::format::u32_at(&page, offset);
        let id = |offset: usize| Id128(crate::format::array_at(&page, offset));
        if word(at::MAGIC) != MAGIC {
            return Ok(Self::Blank);
        }
        if half(at::LAYOUT) != LAYOUT {
            return Ok(Self::UnknownLayout(half(at::LAYOUT)));
        }
        let identity = StageIdentity {
            boot: id(at::BOOT),
            incarnation: id(at::INCARNATION),
            directory: DirectoryIdentity { device: word(at::DEVICE), inode: word(at::INODE) },
        };
        if half(at::STATE) != LIVE {
            return Ok(Self::Free(identity, word(at::DURABLE)));
        }
        Ok(Self::Live(LivePage {
            identity,
            segment_index: half(at::SEGMENT_INDEX),
            num_blocks: half(at::NUM_BLOCKS),
            created_ts_ns: word(at::CREATED),
            previous_last_event_id: word(at::PREVIOUS_LAST),
            published: word(at::PUBLISHED),
            written: half(at::WRITTEN) != 0,
            durable_event_id: word(at::DURABLE),
            poisoned: half(at::POISON) != 0,
        }))
    }
}

/// The name of a slot's file in the stage directory.
#[must_use]
pub fn slot_name(number: usize) -> String {
    format!("slot.{number:03}")
}

/// Whether a name in the stage directory is a slot's.
#[must_use]
pub fn is_slot_name(name: &OsStr) -> bool {
    let digits = name.as_bytes().strip_prefix(b"slot.");
    digits.is_some_and(|digits| digits.len() >= 3 && digits.iter().all(u8::is_ascii_digit))
}

/// The name of a log's directory within the directory for stages.
#[must_use]
pub fn stage_directory_name(log: Id128) -> String {
    format!("walrec-{log}")
}

/// The pool of slots of one recorder.
#[derive(Debug)]
pub struct Stage {
    directory: Arc<dyn Directory>,
    slots: Arc<[Slot]>,
    locked_in_memory: bool,
}

impl Stage {
    /// Allocates and maps `slots` slots for `geometry` in a directory that the caller has locked. Files of an earlier pool are
    /// used again; surplus ones, and those of another size, are removed.
    ///
    /// # Errors
    /// The first failing call's. No space for all of it is found before the first file is made: memory that is filled to the last byte
    /// before that is noticed is missing everywhere else. Where it goes meanwhile the files that were made are left; [`remove_stage`] takes
    /// them away.
    pub fn build(directory: Arc<dyn Directory>, slots: u32, geometry: Geometry) -> Result<Self, Error> {
        let bytes = PAGE_BYTES + geometry.padded_bytes();
        let path = directory.path();
        let wanted: Vec<String> = (0..slots as usize).map(slot_name).collect();
        for name in directory.names().at("list", path, "")? {
            if is_slot_name(&name) && !wanted.iter().any(|wanted| name == **wanted) {
                let name = name.to_string_lossy();
                directory.remove_file(&name).at("remove", path, &name)?;
            }
        }
        let mut needed = 0;
        for name in &wanted {
            needed += if keep_of_size(&*directory, name, bytes)? { 0 } else { bytes as u64 };
        }
        let free = directory.free_bytes().at("statfs", path, "")?;
        if needed > free {
            let text = format!("no space: the slots need {needed} bytes, {free} are free");
            return Err(io::Error::new(io::ErrorKind::StorageFull, text)).at("allocate", path, "");
        }
        let pool: Vec<Slot> =
            wanted.iter().map(|name| build_slot(&*directory, name, bytes)).collect::<Result<_, _>>()?;
        let locked = pool.iter().filter(|slot| slot.mapping.lock_in_memory()).count();
        let locked_in_memory = locked == pool.len();
        Ok(Self { directory: Arc::clone(&directory), slots: pool.into(), locked_in_memory })
    }

    /// The slots.
    #[must_use]
    pub fn slots(&self) -> &Arc<[Slot]> {
        &self.slots
    }

    /// Whether all of it is locked in memory.
    #[must_use]
    pub fn is_locked_in_memory(&self) -> bool {
        self.locked_in_memory
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.directory
    }
}

/// Whether a file of an earlier pool has this size; one that has another is removed.
fn keep_of_size(directory: &dyn Directory, name: &str, bytes: usize) -> Result<bool, Error> {
    let path = directory.path();
    let file = match directory.open_file(name, Access::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.at("open", path, name)?,
    };
    let fits = file.attributes().at("stat", path, name)?.bytes == bytes as u64;
    if !fits {
        directory.remove_file(name).at("remove", path, name)?;
    }
    Ok(fits)
}

fn build_slot(directory: &dyn Directory, name: &str, bytes: usize) -> Result<Slot, Error> {
    let path = directory.path();
    let file = match directory.open_file(name, Access::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            directory.create_file(name, Access::Write).at("create", path, name)?
        }
        other => other.at("open", path, name)?,
    };
    // Never sparse: a store to a hole of a full tmpfs would be a SIGBUS in the engine.
    file.allocate(bytes as u64).at("allocate", path, name)?;
    let mapping = file.map(bytes).at("map", path, name)?;
    Ok(Slot { mapping, file })
}

/// Removes a stage directory and the slots in it; one that is not there is fine.
///
/// # Errors
/// The first failing call's; a directory with other files in it stays.
pub fn remove_stage(system: &dyn System, path: &Path) -> Result<(), Error> {
    let directory = match system.open_directory(path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.at("open", path, "")?,
    };
    for name in directory.names().at("list", path, "")? {
        if is_slot_name(&name) {
            let name = name.to_string_lossy();
            directory.remove_file(&name).at("remove", path, &name)?;
        }
    }
    system.remove_directory(path).at("remove directory", path, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_different_writers_are_two_lines_apart() {
        for (one, other) in [(at::WRITTEN, at::DURABLE), (at::DURABLE, at::POISON), (at::CREATED, at::PUBLISHED)] {
            assert!(other - one >= 128);
        }
    }
}
