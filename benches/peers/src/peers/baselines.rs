//! What one would write without a library: nothing here has checksums, headers or a way to tell a torn tail.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::slice;

use crate::event::{self, Event};
use crate::map;
use crate::peer::{self, Outcome, Peer, Purpose, Survives};

const EVENT: usize = event::BYTES;
const PAGE: usize = 4096;

/// Bytes of a file that is written with zeros beforehand, and then gone round in: more than is ever accepted in one process, so that
/// no page is written twice for that.
fn file_bytes(purpose: Purpose) -> usize {
    match purpose {
        Purpose::Accepting => 512 << 20,
        Purpose::Syncing => 64 << 20,
    }
}

fn prewritten(dir: &Path, bytes: usize) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(peer::log_in(dir))?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// Events in a buffer of the process, written when it is full.
pub struct Buffered {
    file: File,
    buffer: Vec<u8>,
}

impl Buffered {
    const FULL: usize = 64 << 10;

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Peer for Buffered {
    const NAME: &'static str = "buffer+write";
    const SURVIVES: Survives = Survives::Nothing;
    const LIES_IN: &'static str = "memory of the process, until 64 KiB are full";
    const SETTINGS: &'static str = "64 KiB in the process, then write; a growing file; fdatasync";

    fn open(dir: &Path, _: Purpose) -> Outcome<Self> {
        Ok(Self { file: File::create_new(peer::log_in(dir))?, buffer: Vec::with_capacity(Self::FULL) })
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        self.buffer.extend_from_slice(event.bytes());
        if self.buffer.len() == Self::FULL {
            self.write()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        self.write()?;
        Ok(self.file.sync_data()?)
    }
}

/// A write for each event.
pub struct Written {
    file: File,
    gathered: Vec<u8>,
    purpose: Purpose,
}

impl Peer for Written {
    const NAME: &'static str = "write";
    const SURVIVES: Survives = Survives::Kill;
    const LIES_IN: &'static str = "page cache; the kernel writes it after seconds";
    const SETTINGS: &'static str = "one write each event, one for all of a sync; a growing file; fdatasync";

    fn open(dir: &Path, purpose: Purpose) -> Outcome<Self> {
        Ok(Self { file: File::create_new(peer::log_in(dir))?, gathered: Vec::new(), purpose })
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        match self.purpose {
            Purpose::Accepting => self.file.write_all(event.bytes())?,
            Purpose::Syncing => self.gathered.extend_from_slice(event.bytes()),
        }
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        self.file.write_all(&self.gathered)?;
        self.gathered.clear();
        Ok(self.file.sync_data()?)
    }
}

/// Whole pages past the page cache, from one aligned buffer; the disk is waited for where the buffer is full.
pub struct Direct {
    file: File,
    buffer: &'static mut [u8],
    filled: usize,
    /// Of the buffer's first page in the file.
    offset: usize,
    bytes: usize,
}

impl Direct {
    const FULL: usize = 256 << 10;

    /// Writes the pages begun; the last, when it is not full, stays in the buffer, to be written again.
    fn write(&mut self) -> io::Result<()> {
        let pages = self.filled.next_multiple_of(PAGE);
        self.file.write_all_at(&self.buffer[..pages], self.offset as u64)?;
        let whole = self.filled / PAGE * PAGE;
        self.buffer.copy_within(whole..pages, 0);
        self.filled -= whole;
        self.buffer[self.filled..pages].fill(0);
        self.offset = (self.offset + whole) % self.bytes;
        Ok(())
    }
}

impl Peer for Direct {
    const NAME: &'static str = "O_DIRECT";
    const SURVIVES: Survives = Survives::Nothing;
    const LIES_IN: &'static str = "memory of the process, until 256 KiB are full; then past the page cache, not synced";
    const SETTINGS: &'static str =
        "256 KiB in the process, then write; O_DIRECT, a file of zeros written before and gone round in; fdatasync";

    fn open(dir: &Path, purpose: Purpose) -> Outcome<Self> {
        let bytes = file_bytes(purpose);
        drop(prewritten(dir, bytes)?);
        let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(peer::log_in(dir))?;
        let layout = Layout::from_size_align(Self::FULL, PAGE)?;
        // SAFETY: the layout is not empty; the memory is zeroed, is never freed, and no one else has it.
        let buffer = unsafe {
            let memory = alloc_zeroed(layout);
            if memory.is_null() {
                handle_alloc_error(layout);
            }
            slice::from_raw_parts_mut(memory, Self::FULL)
        };
        Ok(Self { file, buffer, filled: 0, offset: 0, bytes })
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        self.buffer[self.filled..self.filled + EVENT].copy_from_slice(event.bytes());
        self.filled += EVENT;
        if self.filled == Self::FULL {
            self.write()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        self.write()?;
        Ok(self.file.sync_data()?)
    }
}

/// Stores into a mapping of the file.
pub struct Mapped {
    memory: *mut u8,
    bytes: usize,
    at: usize,
    synced: usize,
}

impl Mapped {
    fn sync_range(&self, begin: usize, end: usize) -> io::Result<()> {
        let begin = begin / PAGE * PAGE;
        // SAFETY: the range lies in the mapping, which is never unmapped.
        let failed = unsafe { libc::msync(self.memory.add(begin).cast(), end - begin, libc::MS_SYNC) } != 0;
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Peer for Mapped {
    const NAME: &'static str = "mmap";
    const SURVIVES: Survives = Survives::Kill;
    const LIES_IN: &'static str = "page cache; the kernel writes it after seconds";
    const SETTINGS: &'static str =
        "a file of zeros written before, mapped shared, gone round in; msync(MS_SYNC) of the new range";

    fn open(dir: &Path, purpose: Purpose) -> Outcome<Self> {
        let bytes = file_bytes(purpose);
        Ok(Self { memory: map::shared(&prewritten(dir, bytes)?, bytes)?, bytes, at: 0, synced: 0 })
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        // SAFETY: `at` is below the mapping's length and both are multiples of an event's; no reference to it exists.
        unsafe { self.memory.add(self.at).cast::<[u8; EVENT]>().write(*event.bytes()) };
        self.at += EVENT;
        if self.at == self.bytes {
            self.at = 0;
        }
        Ok(())
    }

    fn sync(&mut self) -> Outcome<()> {
        if self.at < self.synced {
            self.sync_range(self.synced, self.bytes)?;
            self.synced = 0;
        }
        self.sync_range(self.synced, self.at)?;
        self.synced = self.at;
        Ok(())
    }
}
