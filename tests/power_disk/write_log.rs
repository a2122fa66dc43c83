//! The record of everything that a block device was given, as qemu's `blklogwrites` writes it.
//!
//! A sector of 512 bytes: magic, version, entries, sector size. Then for each entry one sector with place, count, flags and length,
//! and its data.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::story::event_of;

const SECTOR: usize = 512;
/// Sectors of a page. A file system's own structures are written a page at a time, or not at all: their checksums do not mend what is
/// torn within. Log data makes no such demand.
const PAGE_SECTORS: usize = 8;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// Where a sector's bytes lie in the arena, in sectors. Sector 0 of the arena is zero.
pub type Origin = u32;

/// One request to the device.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Everything before is on stable storage from here on.
    Flush,
    /// The sectors from `first` on get these bytes. A cut may part it at these ends of units, counted from `first`.
    Write { first: usize, origins: Vec<Origin>, units: Vec<usize> },
}

/// The device's first image, and everything it was given after.
pub struct WriteLog {
    arena: Vec<u8>,
    pub base: Vec<Origin>,
    pub entries: Vec<Entry>,
    /// Length of the part of the file that was read.
    pub bytes_read: u64,
}

/// The number of entries at this moment.
pub fn count_entries(log: &File) -> u64 {
    let mut bytes = [0; 8];
    log.read_exact_at(&mut bytes, 16).expect("the write log has a first sector");
    u64::from_le_bytes(bytes)
}

fn word(bytes: &[u8], index: usize) -> u64 {
    u64::from_le_bytes(bytes[index * 8..index * 8 + 8].try_into().expect("eight bytes"))
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a count that fits memory")
}

impl WriteLog {
    /// Reads the image that the device began with, and the first `count` entries.
    pub fn read(base: &Path, log: &Path, count: u64) -> Self {
        let mut read = Self { arena: vec![0; SECTOR], base: Vec::new(), entries: Vec::new(), bytes_read: 0 };
        read.base = read.read_image(base);
        let file = File::open(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let sector = |at: u64| {
            let mut bytes = [0; SECTOR];
            file.read_exact_at(&mut bytes, at).unwrap_or_else(|error| panic!("{} at {at}: {error}", log.display()));
            bytes
        };
        assert_eq!(word(&sector(0), 0), MAGIC, "{} is a write log", log.display());
        let mut at = SECTOR as u64;
        for _ in 0..count {
            let head = sector(at);
            at += SECTOR as u64;
            let [first, sectors, flags] = [word(&head, 0), word(&head, 1), word(&head, 2)];
            assert_eq!(flags & !(FLUSH | DISCARD), 0, "a flag that this reader does not know");
            if flags & FLUSH != 0 {
                assert_eq!(sectors, 0, "a flush with data");
                read.entries.push(Entry::Flush);
                continue;
            }
            let mut bytes = vec![0; index(sectors) * SECTOR];
            if flags & DISCARD == 0 {
                file.read_exact_at(&mut bytes, at).expect("the data of an entry");
                at += bytes.len() as u64;
            }
            let origins = bytes.chunks(SECTOR).map(|sector| read.keep(sector)).collect();
            let first = index(first);
            read.entries.push(Entry::Write { first, origins, units: units_of(first, &bytes) });
        }
        read.bytes_read = at;
        read
    }

    #[cfg(test)]
    pub fn of(base: Vec<Origin>, entries: Vec<Entry>) -> Self {
        Self { arena: Vec::new(), base, entries, bytes_read: 0 }
    }

    fn read_image(&mut self, path: &Path) -> Vec<Origin> {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let bytes = file.metadata().expect("an image has a length").len();
        let mut chunk = vec![0; 1 << 20];
        let mut origins = Vec::new();
        for at in (0..bytes).step_by(chunk.len()) {
            let part = &mut chunk[..index((bytes - at).min(1 << 20))];
            file.read_exact_at(part, at).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            origins.extend(part.chunks(SECTOR).map(|sector| self.keep(sector)));
        }
        origins
    }

    fn keep(&mut self, sector: &[u8]) -> Origin {
        if sector.iter().all(|&byte| byte == 0) {
            return 0;
        }
        let origin = Origin::try_from(self.arena.len() / SECTOR).expect("an arena of less than 2 TiB");
        self.arena.extend_from_slice(sector);
        origin
    }

    /// Bytes of the device.
    pub fn bytes(&self) -> u64 {
        (self.base.len() * SECTOR) as u64
    }

    /// Writes an image to a new file.
    pub fn write_new_image(&self, origins: &[Origin], path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.bytes())?;
        self.write_image(origins, &file)
    }

    /// Writes an image to a file of the same length that holds zeros.
    pub fn write_image(&self, origins: &[Origin], file: &File) -> io::Result<()> {
        let mut begin = 0;
        while begin < origins.len() {
            if origins[begin] == 0 {
                begin += 1;
                continue;
            }
            let mut end = begin + 1;
            while end < origins.len() && origins[end] != 0 && origins[end] == origins[end - 1] + 1 {
                end += 1;
            }
            let from = origins[begin] as usize * SECTOR;
            let bytes: Range<usize> = from..from + (end - begin) * SECTOR;
            file.write_all_at(&self.arena[bytes], (begin * SECTOR) as u64)?;
            begin = end;
        }
        Ok(())
    }
}

/// The ends of what is written whole: the sectors of a page of log data, else the page.
fn units_of(first: usize, bytes: &[u8]) -> Vec<usize> {
    let sectors = bytes.len() / SECTOR;
    let zero = |page: &[u8]| page.iter().all(|&byte| byte == 0);
    let any_log_data = bytes.chunks(SECTOR).any(is_log_data);
    let mut units = Vec::new();
    let mut begin = 0;
    while begin < sectors {
        let end = ((first + begin) / PAGE_SECTORS * PAGE_SECTORS + PAGE_SECTORS - first).min(sectors);
        let page = &bytes[begin * SECTOR..end * SECTOR];
        if any_log_data && (zero(page) || page.chunks(SECTOR).any(is_log_data)) {
            units.extend(begin + 1..=end);
        } else {
            units.push(end);
        }
        begin = end;
    }
    units
}

/// Whether a sector holds part of a segment: an event of the story at one of its places, or a segment's first bytes.
fn is_log_data(sector: &[u8]) -> bool {
    sector.starts_with(&[0x53, 0x46, 1, 64])
        || sector.chunks(64).any(|slot| {
            let id = word(slot, 0);
            id != 0 && id < 1 << 40 && slot[..60] == event_of(id).to_bytes()[..60]
        })
}
