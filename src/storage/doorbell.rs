//! A descriptor of somebody else's that is written to when something has happened: an eventfd, or a pipe that does not block.
#![allow(unsafe_code, reason = "borrows a descriptor that a caller names by its number, and asks for its flags")]

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
        let _ = (&self.0).write(&1_u64.to_le_bytes());
    }
}
