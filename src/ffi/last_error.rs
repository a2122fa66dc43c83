//! The calling thread's last error message.
//!
//! Two places, so that the hot functions do not allocate: [`LATEST`] holds static texts and needs no
//! destructor; a cold function's text is built in [`COLD`], and so is what a hot one says of a recorder that
//! has failed. The latest of the two is what the caller gets.

use core::ffi::c_char;
use std::cell::{Cell, RefCell};

use super::status::walrec_status_t;

#[derive(Clone, Copy)]
enum Latest {
    /// A text that is static, also the empty one before the first failure.
    Static(&'static str),
    /// Of this hot function, put together when it is asked for.
    Hot(&'static str, &'static str),
    /// The text in [`COLD`].
    Cold,
}

thread_local! {
    static LATEST: Cell<Latest> = const { Cell::new(Latest::Static("")) };
    static COLD: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Why a cold function refuses: its status and the text for `walrec_last_error`.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: walrec_status_t,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(status: walrec_status_t, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// Makes this the thread's last error.
    pub(super) fn record(self) -> walrec_status_t {
        let Self { status, text } = self;
        keep(|cold| *cold = text);
        status
    }
}

/// Makes what `write` leaves in the cold text the thread's last error.
fn keep(write: impl FnOnce(&mut String)) {
    // Both cells may be gone while the thread ends; then nobody can ask for the text either.
    let kept = COLD.try_with(|cold| match cold.try_borrow_mut() {
        Ok(mut cold) => {
            write(&mut cold);
            Latest::Cold
        }
        Err(_) => Latest::Static("the message could not be kept"),
    });
    let latest = kept.unwrap_or(Latest::Static("the thread is ending"));
    let _ = LATEST.try_with(|cell| cell.set(latest));
}

/// Makes the parts of a text, one behind the other, the thread's last error. Room for it is allocated once.
pub(super) fn record_parts(status: walrec_status_t, parts: &[&str]) -> walrec_status_t {
    keep(|cold| {
        cold.clear();
        cold.extend(parts.iter().copied());
    });
    status
}

/// Makes a static text the last error of a hot function: no allocation, no lock, no system call.
pub(super) fn record_hot(status: walrec_status_t, function: &'static str, text: &'static str) -> walrec_status_t {
    let _ = LATEST.try_with(|cell| cell.set(Latest::Hot(function, text)));
    status
}

/// Makes a static text the thread's last error: no allocation, no lock, no system call.
pub(super) fn record_static(status: walrec_status_t, text: &'static str) -> walrec_status_t {
    let _ = LATEST.try_with(|cell| cell.set(Latest::Static(text)));
    status
}

/// Runs `use_text` with the thread's last error.
fn with_latest<R>(use_text: impl FnOnce(&str) -> R) -> R {
    match LATEST.try_with(Cell::get) {
        Ok(Latest::Static(text)) => use_text(text),
        Ok(Latest::Hot(function, text)) => use_text(&[function, ": ", text].concat()),
        Ok(Latest::Cold) => {
            let mut use_text = Some(use_text);
            let done = COLD.try_with(|cold| {
                let text = cold.try_borrow().ok()?;
                use_text.take().map(|use_text| use_text(&text))
            });
            match (done, use_text) {
                (Ok(Some(result)), _) => result,
                (_, Some(use_text)) => use_text(""),
                (_, None) => unreachable!("use_text is taken only to give a result"),
            }
        }
        Err(_) => use_text(""),
    }
}

/// Copies the text of the calling thread's last failed call to buf: what failed, where, and the operating
/// system's words. At most n bytes, always terminated when n > 0. A call that succeeds does not change the
/// text; before the first failure it is empty.
///
/// Returns the bytes needed for the whole text, the terminator included. (NULL, 0) asks for just that.
///
/// Any thread; never blocks.
///
/// # Safety
/// buf: n writable bytes; may be NULL, then nothing is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn walrec_last_error(buf: *mut c_char, n: usize) -> usize {
    with_latest(|text| {
        if !buf.is_null() && n > 0 {
            let mut kept = text.len().min(n - 1);
            // Half a character is no text.
            while !text.is_char_boundary(kept) {
                kept -= 1;
            }
            // SAFETY: the caller gives n writable bytes at buf, and kept < n. The source is a Rust string of this
            // thread, which the caller cannot reach, so the two do not overlap.
            unsafe {
                buf.copy_from_nonoverlapping(text.as_ptr().cast(), kept);
                buf.add(kept).write(0);
            }
        }
        text.len() + 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;

    fn copy(n: usize) -> (String, usize) {
        let mut buf = [0x7f as c_char; 64];
        // SAFETY: buf has 64 bytes, and no test asks for more.
        let needed = unsafe { walrec_last_error(buf.as_mut_ptr(), n) };
        assert!(buf[n..].iter().all(|&b| b == 0x7f), "nothing beyond n is written");
        if n == 0 {
            return (String::new(), needed);
        }
        // SAFETY: walrec_last_error terminated it.
        (unsafe { CStr::from_ptr(buf.as_ptr()) }.to_str().unwrap().to_owned(), needed)
    }

    #[test]
    fn latest_of_hot_and_cold_wins_and_is_always_terminated() {
        assert_eq!(copy(64), (String::new(), 1));
        assert_eq!(Refusal::new(-6, "cold one").record(), -6);
        assert_eq!(copy(64), ("cold one".into(), 9));
        assert_eq!(record_static(-2, "hot one"), -2);
        assert_eq!(copy(64), ("hot one".into(), 8));
        assert_eq!(copy(8), ("hot one".into(), 8));
        assert_eq!(copy(4), ("hot".into(), 8));
        assert_eq!(copy(1), (String::new(), 8));
        assert_eq!(copy(0), (String::new(), 8));
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { walrec_last_error(core::ptr::null_mut(), 10) }, 8);
        Refusal::new(-6, "naïve").record();
        assert_eq!(copy(4), ("na".into(), 7), "no half character");
    }

    #[test]
    fn each_thread_has_its_own() {
        record_static(-1, "mine");
        std::thread::spawn(|| assert_eq!(copy(64), (String::new(), 1))).join().unwrap();
        assert_eq!(copy(64).0, "mine");
    }
}
