//! Memory: the one file that maps any.
//!
//! Three kinds: a stage slot's image ([`Mapping`]: shared memory of a file, or pages of the heap in the simulation), the
//! append thread's cursor page ([`CursorPage`]: private, zeroed in a forked child), and page-aligned buffers for direct
//! writes ([`PageBuffer`]). Unsafe code here creates and frees memory and hands out pointers; who may touch which byte
//! when is the stage's rule and is stated there. Invariants:
//! 1. A mapping is made once, at open, and lives until its owner is dropped: nothing here unmaps, protects or advises
//!    while appends run.
//! 2. Every pointer handed out is page-aligned and covers `len` bytes.
#![allow(unsafe_code, reason = "maps memory and hands out pointers to it")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw};

use crate::format::PAGE_BYTES;

fn no_memory() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOMEM)
}

/// `bytes` zeros, made at once and not with their first use. For what is large: to run out of memory is an error, not the engine's end.
///
/// # Errors
/// No memory.
pub fn zeroed_bytes(bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(bytes).map_err(|_| no_memory())?;
    buffer.resize(bytes, 0);
    Ok(buffer)
}

/// Whether there is so much memory now; it is given back at once. For what is then allocated where no error can be told.
///
/// # Errors
/// No memory.
pub fn look_for_memory(bytes: usize) -> io::Result<()> {
    let mut probe: Vec<u8> = Vec::new();
    probe.try_reserve_exact(bytes).map_err(|_| no_memory())?;
    // Not to be left out as useless.
    std::hint::black_box(probe.as_mut_ptr());
    Ok(())
}

/// Zeroed pages of the heap, freed with their last owner.
pub struct HeapPages {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the pages belong to this object alone; what is read and written through its pointer is the users' rule.
unsafe impl Send for HeapPages {}
// SAFETY: as above; the object itself gives out nothing but the pointer.
unsafe impl Sync for HeapPages {}

impl HeapPages {
    /// `bytes` rounded up to whole pages, at least one, all zero.
    ///
    /// # Errors
    /// No memory.
    pub fn zeroed(bytes: usize) -> io::Result<Self> {
        let bytes = bytes.max(1).checked_next_multiple_of(PAGE_BYTES).ok_or_else(no_memory)?;
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).map_err(|_| no_memory())?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(no_memory)?;
        Ok(Self { start, layout })
    }

    /// The first byte.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Bytes, whole pages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.layout.size()
    }

    /// Never: there is at least one page.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Drop for HeapPages {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout, freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl fmt::Debug for HeapPages {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "HeapPages({} bytes)", self.len())
    }
}

enum Owner {
    Shared(MmapRaw),
    Heap(Arc<HeapPages>),
}

/// Bytes of a file in memory, shared with whoever else maps them.
pub struct Mapping {
    owner: Owner,
    len: usize,
}

impl Mapping {
    /// Maps the first `len` bytes of `file`, shared. A page becomes present with its first store.
    pub(super) fn shared(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(len).map_raw(&file)?;
        Ok(Self { owner: Owner::Shared(map), len })
    }

    /// The first `len` bytes of pages of the heap: what a simulated file maps to.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn heap(pages: Arc<HeapPages>, len: usize) -> Self {
        assert!(len <= pages.len(), "mapping longer than its pages");
        Self { owner: Owner::Heap(pages), len }
    }

    /// The first byte; valid for reads and writes of [`Self::len`] bytes for as long as this object lives.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        match &self.owner {
            Owner::Shared(map) => map.as_mut_ptr(),
            Owner::Heap(pages) => pages.as_ptr(),
        }
    }

    /// Bytes mapped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps the mapping in memory, each page from its first store on; `false` when the limit of this process does not allow it.
    #[must_use]
    pub fn lock_in_memory(&self) -> bool {
        match &self.owner {
            Owner::Shared(map) => {
                let on_fault = libc::c_ulong::from(libc::MLOCK_ONFAULT);
                // SAFETY: the range is this mapping; the call changes nothing of what it holds.
                unsafe { libc::syscall(libc::SYS_mlock2, map.as_mut_ptr(), self.len, on_fault) == 0 }
            }
            Owner::Heap(_) => true,
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Mapping({} bytes)", self.len)
    }
}

/// One private page that reads as zero in a forked child.
///
/// So the append thread's cursor meets its end there, and the slow path sees the fork, without any check on the hot path.
pub struct CursorPage {
    #[cfg(not(miri))]
    map: MmapRaw,
    /// Miri knows no such advice, and no fork.
    #[cfg(miri)]
    map: HeapPages,
}

impl CursorPage {
    /// A zeroed page.
    ///
    /// # Errors
    /// The system's: no memory, or no MADV_WIPEONFORK (Linux before 4.14).
    #[cfg(not(miri))]
    pub fn new() -> io::Result<Self> {
        let map = MmapRaw::from(MmapOptions::new().len(PAGE_BYTES).populate().map_anon()?);
        // SAFETY: the range is the private anonymous mapping just made; the advice changes only what a child sees.
        let result = unsafe { libc::madvise(map.as_mut_ptr().cast(), PAGE_BYTES, libc::MADV_WIPEONFORK) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { map })
    }

    /// A zeroed page.
    ///
    /// # Errors
    /// No memory.
    #[cfg(miri)]
    pub fn new() -> io::Result<Self> {
        Ok(Self { map: HeapPages::zeroed(PAGE_BYTES)? })
    }

    /// The page.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        #[cfg(not(miri))]
        return self.map.as_mut_ptr();
        #[cfg(miri)]
        return self.map.as_ptr();
    }
}

impl fmt::Debug for CursorPage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("CursorPage")
    }
}

/// A page-aligned buffer of one owner, for direct reads and writes.
#[derive(Debug)]
pub struct PageBuffer {
    pages: Pages,
}

#[derive(Debug)]
enum Pages {
    Heap(HeapPages),
    /// Of a mapping of its own, which is longer by a huge page.
    Huge {
        map: MmapMut,
        place: usize,
        bytes: usize,
    },
}

const HUGE_PAGE_BYTES: usize = 2 << 20;

impl PageBuffer {
    /// At least `bytes` bytes, whole pages, zero.
    ///
    /// # Errors
    /// No memory.
    pub fn zeroed(bytes: usize) -> io::Result<Self> {
        Ok(Self { pages: Pages::Heap(HeapPages::zeroed(bytes)?) })
    }

    /// The same in huge pages of 2 MiB, as far as they go and where the system gives them: a device is told of a few ranges then, not of
    /// one for each page. They become present with their first use.
    ///
    /// # Errors
    /// No memory.
    pub fn in_huge_pages(bytes: usize) -> io::Result<Self> {
        let pages = match huge_pages(bytes) {
            Some(pages) => pages,
            None => Pages::Heap(HeapPages::zeroed(bytes)?),
        };
        Ok(Self { pages })
    }
}

fn huge_pages(bytes: usize) -> Option<Pages> {
    if cfg!(miri) {
        return None;
    }
    let bytes = bytes.next_multiple_of(PAGE_BYTES);
    let map = MmapMut::map_anon(bytes + HUGE_PAGE_BYTES).ok()?;
    let place = map.as_ptr().align_offset(HUGE_PAGE_BYTES);
    map.advise_range(Advice::HugePage, place, bytes - bytes % HUGE_PAGE_BYTES).ok()?;
    // A child of the process has no use for it, and would have this one copy its pages when it writes to them again.
    let _ = map.advise(Advice::DontFork);
    Some(Pages::Huge { map, place, bytes })
}

impl std::ops::Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.pages {
            // SAFETY: the pages are initialized, belong to this object alone, and are borrowed with it.
            Pages::Heap(pages) => unsafe { std::slice::from_raw_parts(pages.as_ptr(), pages.len()) },
            Pages::Huge { map, place, bytes } => &map[*place..][..*bytes],
        }
    }
}

impl std::ops::DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.pages {
            // SAFETY: as above, and borrowed mutably.
            Pages::Heap(pages) => unsafe { std::slice::from_raw_parts_mut(pages.as_ptr(), pages.len()) },
            Pages::Huge { map, place, bytes } => &mut map[*place..][..*bytes],
        }
    }
}
