//! The contents of one simulated file: what calls see, what the disk holds, and what lies between the two.
//!
//! Invariants:
//! 1. The volatile image is the durable one with every change of `unsynced` applied in order; when a mapping exists its
//!    pages are the contents and the volatile image only mirrors them as of the last look.
//! 2. A page that is all zero is kept as `None` where that is noticed; both forms are equal.
//! 3. Bytes behind the end of an image read as zero if it grows again.
#![allow(unsafe_code, reason = "copies from and to the pages that a simulated mapping hands out")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::format::PAGE_BYTES;
use crate::storage::{HeapPages, Mapping};

/// Bytes that reach the disk whole or not at all.
pub const SECTOR_BYTES: usize = 512;
const LARGEST_FILE_BYTES: u64 = 1 << 40;

pub(super) type Page = [u8; PAGE_BYTES];
/// A page's contents; `None` is zeros.
pub(super) type PageSlot = Option<Arc<Page>>;

static ZERO_PAGE: Page = [0; PAGE_BYTES];

/// The bytes of a slot.
pub(super) fn page_of(slot: &PageSlot) -> &Page {
    slot.as_deref().unwrap_or(&ZERO_PAGE)
}

/// Whether two slots hold the same bytes.
pub(super) fn same(one: &PageSlot, other: &PageSlot) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        _ => page_of(one) == page_of(other),
    }
}

/// A page number or length as an index; what does not fit is beyond every file.
pub(super) fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn page_count(bytes: u64) -> usize {
    index(bytes.div_ceil(PAGE_BYTES as u64))
}

/// The parts of `len` bytes at `offset`: page, bytes in it, bytes of the caller's buffer.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let begin = index(at % PAGE_BYTES as u64);
        let step = (PAGE_BYTES - begin).min(len - done);
        let part = (index(at / PAGE_BYTES as u64), begin..begin + step, done..done + step);
        done += step;
        Some(part)
    })
}

/// A file's bytes; copies share their pages.
#[derive(Clone, Default)]
pub(super) struct Image {
    pages: Arc<Vec<PageSlot>>,
    bytes: u64,
}

impl Image {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let slot = |part: &[u8]| {
            let mut page = ZERO_PAGE;
            page[..part.len()].copy_from_slice(part);
            (page != ZERO_PAGE).then(|| Arc::new(page))
        };
        Self { pages: Arc::new(bytes.chunks(PAGE_BYTES).map(slot).collect()), bytes: bytes.len() as u64 }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; index(self.bytes)];
        self.read(&mut bytes, 0);
        bytes
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether both hold the same bytes.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let pages = self.pages.len().max(other.pages.len());
        self.bytes == other.bytes
            && (Arc::ptr_eq(&self.pages, &other.pages)
                || (0..pages).all(|page| same(self.page(page), other.page(page))))
    }

    pub(super) fn page(&self, index: usize) -> &PageSlot {
        self.pages.get(index).unwrap_or(&None)
    }

    /// The pages that may hold anything but zeros, with their numbers.
    pub(super) fn pages(&self) -> impl Iterator<Item = (usize, &Page)> {
        self.pages.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_deref()?)))
    }

    fn slot_mut(&mut self, index: usize) -> &mut PageSlot {
        let pages = Arc::make_mut(&mut self.pages);
        if pages.len() <= index {
            pages.resize(index + 1, None);
        }
        &mut pages[index]
    }

    pub(super) fn set_page(&mut self, index: usize, slot: PageSlot) {
        *self.slot_mut(index) = slot;
    }

    /// Cuts or extends; everything behind the end is forgotten.
    pub(super) fn resize(&mut self, bytes: u64) {
        self.bytes = bytes;
        if self.pages.len() > page_count(bytes) {
            Arc::make_mut(&mut self.pages).truncate(page_count(bytes));
        }
        let tail = index(bytes % PAGE_BYTES as u64);
        let last = index(bytes / PAGE_BYTES as u64);
        if tail != 0
            && page_of(self.page(last))[tail..].iter().any(|&byte| byte != 0)
            && let Some(page) = self.slot_mut(last)
        {
            Arc::make_mut(page)[tail..].fill(0);
        }
    }

    /// Moves the end up over bytes that are there already.
    pub(super) fn grow(&mut self, bytes: u64) {
        self.bytes = self.bytes.max(bytes);
    }

    /// Reads up to the end; gives the bytes read.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let len = buffer.len().min(index(self.bytes.saturating_sub(offset)));
        for (page, inside, outside) in parts(offset, len) {
            buffer[outside].copy_from_slice(&page_of(self.page(page))[inside]);
        }
        len
    }

    /// Writes into one page without changing the size; gives what the page holds then.
    fn write_part(&mut self, page: usize, inside: Range<usize>, bytes: &[u8]) -> PageSlot {
        let slot = self.slot_mut(page);
        let mut contents = *page_of(slot);
        contents[inside].copy_from_slice(bytes);
        *slot = (contents != ZERO_PAGE).then(|| Arc::new(contents));
        slot.clone()
    }
}

/// A change that the disk need not have yet.
#[derive(Clone)]
pub(super) enum Change {
    /// A page as one write left it.
    Page {
        /// Number of the page.
        index: usize,
        /// Its bytes after the write.
        contents: PageSlot,
    },
    /// A new size.
    Size(u64),
}

/// A change, and whether a sync will still carry it.
#[derive(Clone)]
pub(super) struct Unsynced {
    pub(super) change: Change,
    /// A sync failed with it: it looks clean, and no later sync writes it.
    clean_looking: bool,
}

impl Unsynced {
    fn dirty(change: Change) -> Self {
        Self { change, clean_looking: false }
    }
}

/// A regular file's contents.
#[derive(Clone, Default)]
pub(super) struct FileNode {
    /// Bytes of space taken, whole pages.
    pub(super) charged: u64,
    in_memory: bool,
    volatile: Image,
    durable: Image,
    unsynced: Vec<Unsynced>,
    heap: Option<Arc<HeapPages>>,
    /// Mapped pages that a failed sync left clean-looking, as they were then.
    failed: BTreeMap<usize, PageSlot>,
}

impl FileNode {
    pub(super) fn new(in_memory: bool) -> Self {
        Self { in_memory, ..Self::default() }
    }

    /// A file whose every byte is durable.
    pub(super) fn settled(in_memory: bool, image: Image) -> Self {
        let charged = image.bytes.next_multiple_of(PAGE_BYTES as u64);
        Self { charged, in_memory, volatile: image.clone(), durable: image, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.volatile.bytes
    }

    /// The contents as of the last look at a mapping.
    pub(super) fn image(&self) -> &Image {
        &self.volatile
    }

    pub(super) fn durable(&self) -> &Image {
        &self.durable
    }

    pub(super) fn unsynced(&self) -> &[Unsynced] {
        &self.unsynced
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.heap.is_some()
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let Some(heap) = &self.heap else { return self.volatile.read(buffer, offset) };
        let len = buffer.len().min(index(self.volatile.bytes.saturating_sub(offset)));
        if len > 0 {
            read_heap(heap, &mut buffer[..len], index(offset));
        }
        len
    }

    /// Writes all of `bytes`, extending the file if need be.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.volatile.bytes {
            self.resize(end)?;
        }
        if let Some(heap) = &self.heap {
            write_heap(heap, bytes, index(offset));
            return Ok(());
        }
        for (page, inside, outside) in parts(offset, bytes.len()) {
            let contents = self.volatile.write_part(page, inside, &bytes[outside]);
            self.record(Change::Page { index: page, contents });
        }
        Ok(())
    }

    pub(super) fn resize(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > LARGEST_FILE_BYTES {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        if let Some(heap) = &mut self.heap {
            if bytes > heap.len() as u64 {
                if Arc::strong_count(heap) > 1 {
                    // Other pages would part the file from its mapping.
                    return Err(io::Error::new(io::ErrorKind::Unsupported, "simulated: a mapped file cannot grow"));
                }
                let grown = HeapPages::zeroed(index(bytes))?;
                let mut contents = vec![0; index(self.volatile.bytes)];
                read_heap(heap, &mut contents, 0);
                write_heap(&grown, &contents, 0);
                *heap = Arc::new(grown);
            } else if bytes < self.volatile.bytes {
                write_heap(heap, &vec![0; index(self.volatile.bytes - bytes)], index(bytes));
            }
        }
        if bytes != self.volatile.bytes {
            self.volatile.resize(bytes);
            self.record(Change::Size(bytes));
        }
        Ok(())
    }

    fn record(&mut self, change: Change) {
        if !self.in_memory {
            self.unsynced.push(Unsynced::dirty(change));
        }
    }

    /// Makes everything durable that no earlier sync has failed with.
    pub(super) fn sync(&mut self) {
        if self.in_memory {
            return;
        }
        self.look_at_mapping();
        if self.failed.is_empty() && self.unsynced.iter().all(|one| !one.clean_looking) {
            self.durable = self.volatile.clone();
            self.unsynced.clear();
            return;
        }
        let mut new_size = false;
        let mut dirty: BTreeSet<usize> =
            self.mapped_changes().filter(|(_, clean)| !clean).map(|(page, _)| page).collect();
        for one in self.unsynced.iter().filter(|one| !one.clean_looking) {
            match one.change {
                Change::Page { index, .. } => drop(dirty.insert(index)),
                Change::Size(_) => new_size = true,
            }
        }
        if new_size {
            // One after the other, so that what a cut took does not come back with a growth.
            for one in &self.unsynced {
                if let Change::Size(bytes) = one.change {
                    self.durable.resize(bytes);
                }
            }
        } else if let Some(&last) = dirty.last() {
            let end = (last as u64 + 1) * PAGE_BYTES as u64;
            self.durable.bytes = self.durable.bytes.max(end.min(self.volatile.bytes));
        }
        for &page in &dirty {
            if page < page_count(self.durable.bytes) {
                self.durable.set_page(page, self.volatile.page(page).clone());
            }
            self.failed.remove(&page);
        }
        self.unsynced.retain(|one| {
            one.clean_looking
                && match one.change {
                    Change::Page { index, .. } => !dirty.contains(&index),
                    Change::Size(_) => !new_size,
                }
        });
    }

    /// A sync that failed: as Linux does, nothing is dirty any more, and nothing has become durable.
    pub(super) fn fail_sync(&mut self) {
        self.look_at_mapping();
        let failed: Vec<usize> = self.mapped_changes().map(|(page, _)| page).collect();
        for page in failed {
            self.failed.insert(page, self.volatile.page(page).clone());
        }
        self.unsynced.iter_mut().for_each(|one| one.clean_looking = true);
    }

    /// Drops the clean-looking pages from the cache, so that reads show what the disk holds.
    pub(super) fn evict(&mut self) {
        let page_in = |one: &Unsynced, clean_looking| match one.change {
            Change::Page { index, .. } if one.clean_looking == clean_looking => Some(index),
            _ => None,
        };
        let dirty: BTreeSet<usize> = self.unsynced.iter().filter_map(|one| page_in(one, false)).collect();
        let clean: BTreeSet<usize> = self.unsynced.iter().filter_map(|one| page_in(one, true)).collect();
        let gone: BTreeSet<usize> = clean.difference(&dirty).copied().collect();
        for &page in &gone {
            self.volatile.set_page(page, self.durable.page(page).clone());
        }
        self.volatile.resize(self.volatile.bytes);
        self.unsynced.retain(|one| page_in(one, true).is_none_or(|page| !gone.contains(&page)));
    }

    /// The contents as calls see them now.
    pub(super) fn current(&mut self) -> &Image {
        self.look_at_mapping();
        &self.volatile
    }

    /// Maps the first `bytes`; from then on the pages of the mapping are the contents.
    pub(super) fn map(&mut self, bytes: usize) -> io::Result<Mapping> {
        if bytes == 0 || bytes as u64 > self.volatile.bytes {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        if self.heap.is_none() {
            let heap = HeapPages::zeroed(index(self.volatile.bytes))?;
            for (page, contents) in self.volatile.pages() {
                write_heap(&heap, contents, page * PAGE_BYTES);
            }
            for one in &self.unsynced {
                match one.change {
                    Change::Page { index, .. } if one.clean_looking => {
                        self.failed.insert(index, self.volatile.page(index).clone());
                    }
                    Change::Page { index, .. } => drop(self.failed.remove(&index)),
                    Change::Size(_) => {}
                }
            }
            self.unsynced.retain(|one| matches!(one.change, Change::Size(_)));
            self.heap = Some(Arc::new(heap));
        }
        match &self.heap {
            Some(heap) => Ok(Mapping::heap(Arc::clone(heap), bytes)),
            None => Err(io::ErrorKind::Other.into()),
        }
    }

    /// The same file without its mapping: a copy that no later store reaches.
    pub(super) fn unmapped(&mut self) -> Self {
        self.look_at_mapping();
        let mut copy = self.clone();
        if !self.in_memory {
            let changed = self.mapped_changes().map(|(page, clean_looking)| {
                let contents = self.volatile.page(page).clone();
                Unsynced { change: Change::Page { index: page, contents }, clean_looking }
            });
            copy.unsynced.extend(changed);
        }
        copy.heap = None;
        copy.failed.clear();
        copy
    }

    /// Mapped pages that differ from the disk's, and whether they look clean.
    fn mapped_changes(&self) -> impl Iterator<Item = (usize, bool)> {
        let pages = if self.heap.is_some() { page_count(self.volatile.bytes) } else { 0 };
        (0..pages)
            .filter(|&page| !same(self.volatile.page(page), self.durable.page(page)))
            .map(|page| (page, self.failed.get(&page).is_some_and(|contents| same(contents, self.volatile.page(page)))))
    }

    /// Brings the volatile image up to date with the mapping; unchanged pages stay shared with older copies.
    fn look_at_mapping(&mut self) {
        let Some(heap) = &self.heap else { return };
        let mut contents = ZERO_PAGE;
        for page in 0..page_count(self.volatile.bytes).min(heap.len() / PAGE_BYTES) {
            read_heap(heap, &mut contents, page * PAGE_BYTES);
            if page_of(self.volatile.page(page)) != &contents {
                let slot = (contents != ZERO_PAGE).then(|| Arc::new(contents));
                self.volatile.set_page(page, slot);
            }
        }
    }
}

fn check_range(heap: &HeapPages, offset: usize, len: usize) {
    assert!(offset.checked_add(len).is_some_and(|end| end <= heap.len()), "outside of the mapped pages");
}

fn read_heap(heap: &HeapPages, buffer: &mut [u8], offset: usize) {
    check_range(heap, offset, buffer.len());
    // SAFETY: the range lies inside the pages, checked above, and the buffer is not part of them. Whoever stores through
    // a mapping does not do so while the simulation looks: the callers' rule, as for every simulated run.
    unsafe { std::ptr::copy_nonoverlapping(heap.as_ptr().add(offset), buffer.as_mut_ptr(), buffer.len()) }
}

fn write_heap(heap: &HeapPages, bytes: &[u8], offset: usize) {
    check_range(heap, offset, bytes.len());
    // SAFETY: as in `read_heap`, with the roles exchanged.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), heap.as_ptr().add(offset), bytes.len()) }
}
