//! A descriptor of somebody else's that is written to when something has happened: an eventfd, or a pipe that does not block.
//!
//! A pipe that nobody reads any more answers a write with SIGPIPE to the thread that wrote, which ends the process. Workers have all
//! signals blocked; a caller's thread has this one blocked here, and what the write has left pending is taken away again.
#![allow(
    unsafe_code,
    reason = "borrows a descriptor that a caller names by its number, and keeps a signal away from its thread"
)]

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{BorrowedFd, RawFd};

/// Its own duplicate: the caller may close the original at any time.
#[derive(Debug)]
pub struct Doorbell(File);

impl Doorbell {
    /// A duplicate of `descriptor`.
    ///
    /// # Errors
    /// It is not open; `InvalidInput` when it cannot be written to, or a write to it could block; the system's.
    pub fn of(descriptor: RawFd) -> io::Result<Self> {
        // SAFETY: no memory is involved; a number that is not open gives an error.
        let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
        if flags < 0 {
            return Err(io::Error::last_os_error());
        }
        if flags & libc::O_NONBLOCK == 0 || flags & libc::O_ACCMODE == libc::O_RDONLY {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: it was open a moment ago, and is not -1; should it have been closed since, the duplication fails.
        let own = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()?;
        Ok(Self(File::from(own)))
    }

    /// Writes the number 1, eight bytes. One that is full has been rung already, and one that nobody listens to is nobody's loss.
    pub fn ring(self) {
        without_sigpipe(|| (&self.0).write(&1_u64.to_le_bytes()));
    }
}

/// Does the write with SIGPIPE blocked in this thread, and leaves neither the block nor a signal of it behind.
fn without_sigpipe(write: impl FnOnce() -> io::Result<usize>) {
    // SAFETY: all-zero bytes are valid sets to be filled.
    let (mut pipe, mut before, mut pending): (libc::sigset_t, libc::sigset_t, libc::sigset_t) =
        unsafe { std::mem::zeroed() };
    // SAFETY: the sets may be written; the calls change this thread's mask only.
    let was_pending = unsafe {
        libc::sigemptyset(&raw mut pipe);
        libc::sigaddset(&raw mut pipe, libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before);
        // Where it was not blocked, none can have waited.
        libc::sigismember(&raw const before, libc::SIGPIPE) == 1
            && libc::sigpending(&raw mut pending) == 0
            && libc::sigismember(&raw const pending, libc::SIGPIPE) == 1
    };
    let broken = matches!(write(), Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
    // SAFETY: as above. The signal of a broken pipe goes to the writing thread itself, so it is here by now; one that was pending before
    // is not told from it, and stays. EINTR is a signal that was handled meanwhile.
    unsafe {
        if broken && !was_pending {
            let no_time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            while libc::sigtimedwait(&raw const pipe, std::ptr::null_mut(), &raw const no_time) < 0
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
    }
}
