//! walrec, by its C face and from its shared library, as an engine in C or C++ calls it.

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use crate::event::{Event, Sequence};
use crate::peer::{Outcome, Peer, Purpose, Survives};

const OK: i32 = 0;
const END: i32 = 1;

unsafe extern "C" {
    fn walrec_version_string() -> *const c_char;
    fn walrec_last_error(buf: *mut c_char, n: usize) -> usize;
    fn walrec_append(log: *mut c_void, event: *const Event) -> i32;
    fn walrec_sync(log: *mut c_void, event_id: u64, timeout_ns: u64) -> i32;
    fn walrec_close(log: *mut c_void) -> i32;
    fn walrec_reader_open(dir: *const c_char, first: u64, flags: u32, out: *mut *mut c_void) -> i32;
    fn walrec_reader_next(reader: *mut c_void, event: *mut Event) -> i32;
    fn walrec_reader_close(reader: *mut c_void) -> i32;
    /// native/walrec.c, where the header is.
    fn peers_walrec_open(dir: *const c_char, out: *mut *mut c_void) -> i32;
}

#[cold]
fn failed(status: i32) -> Box<dyn std::error::Error> {
    let mut text = [0; 512];
    // SAFETY: at most 512 bytes are written, a terminator among them.
    let text = unsafe {
        walrec_last_error(text.as_mut_ptr(), text.len());
        CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned()
    };
    format!("status {status}: {text}").into()
}

fn checked(status: i32) -> Outcome<()> {
    if status == OK { Ok(()) } else { Err(failed(status)) }
}

/// An open recorder.
pub struct Walrec(*mut c_void);

impl Peer for Walrec {
    const NAME: &'static str = "walrec";
    const SURVIVES: Survives = Survives::Kill;
    const LIES_IN: &'static str = "shared memory; on its way to the disk, durable within about a millisecond";
    const SETTINGS: &'static str =
        "defaults, but every segment is kept as it is (no freezing, no deletion); walrec_sync";

    fn version() -> String {
        // SAFETY: a static text.
        unsafe { CStr::from_ptr(walrec_version_string()).to_string_lossy().into_owned() }
    }

    fn open(dir: &Path, _: Purpose) -> Outcome<Self> {
        let dir = CString::new(dir.as_os_str().as_bytes())?;
        let mut log = ptr::null_mut();
        // SAFETY: a terminated path, and a place for the handle.
        checked(unsafe { peers_walrec_open(dir.as_ptr(), &raw mut log) })?;
        Ok(Self(log))
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        // SAFETY: an open handle, and an event of the library's layout.
        checked(unsafe { walrec_append(self.0, event) })
    }

    fn sync(&mut self) -> Outcome<()> {
        // SAFETY: an open handle.
        checked(unsafe { walrec_sync(self.0, 0, u64::MAX) })
    }

    fn replay(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        // What only the stage still has comes into the files by opening; then the reader reads the files.
        drop(Self::open(dir, Purpose::Accepting)?);
        let dir = CString::new(dir.as_os_str().as_bytes())?;
        let mut reader = ptr::null_mut();
        let mut event = *Sequence::new().advance();
        // SAFETY: a terminated path, a place for the handle, the handle, and an event of the library's layout.
        unsafe {
            checked(walrec_reader_open(dir.as_ptr(), 0, 0, &raw mut reader))?;
            let end = loop {
                match walrec_reader_next(reader, &raw mut event) {
                    OK => each(event.bytes()),
                    status => break status,
                }
            };
            if end != END {
                return Err(failed(end));
            }
            checked(walrec_reader_close(reader))
        }
    }
}

impl Drop for Walrec {
    fn drop(&mut self) {
        // SAFETY: an open handle, not used again.
        if let Err(why) = checked(unsafe { walrec_close(self.0) }) {
            eprintln!("walrec_close: {why}");
        }
    }
}
