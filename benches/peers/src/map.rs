//! A file mapped shared, for the life of the process.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

/// Maps the first `bytes` of the file, to read and write.
pub fn shared(file: &File, bytes: usize) -> io::Result<*mut u8> {
    // SAFETY: a new mapping at a place of the kernel's choice; it touches nothing that exists.
    let memory = unsafe {
        libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(memory.cast()) }
}
