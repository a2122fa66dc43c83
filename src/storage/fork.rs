//! A forked child keeps no lock.
//!
//! `flock` belongs to the open file description, which a child shares: without this, a child that outlives its killed
//! parent would keep the log locked. So descriptors that carry a lock are listed here, and closed in the child by a
//! handler of `pthread_atfork`, registered once, at the first lock. The handler runs between fork and anything else in the
//! child: it touches only atomics and calls only `close`, both allowed there.
//!
//! A descriptor is opened, locked and listed while [`TAKING`] is held, and a fork on another thread waits for that: a child made in
//! between would have it, and not know. It is a matter of three system calls, none of which waits for a disk or for another process.
#![allow(unsafe_code, reason = "registers a handler with pthread_atfork and closes descriptors in it")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use crate::sync::SignalsBlocked;

/// An entry holds a descriptor's complement, so that an empty table is all zeros and takes no room in the library.
const NONE: RawFd = 0;
/// Two locks a recorder: 2,048 recorders in one process.
const MOST_LOCKS: usize = 4096;

static LOCKED: [AtomicI32; MOST_LOCKS] = [const { AtomicI32::new(NONE) }; MOST_LOCKS];
static REGISTERED: OnceLock<i32> = OnceLock::new();
/// A lock is being taken, or a fork is under way. Not a mutex: it is taken by one handler and given back by two others.
static TAKING: AtomicBool = AtomicBool::new(false);

fn hold() {
    // Acquire and release: whoever holds it sees the list as the holder before left it.
    while TAKING.swap(true, Ordering::Acquire) {
        std::thread::sleep(Duration::from_micros(50));
    }
}

extern "C" fn before_fork() {
    hold();
}

extern "C" fn in_parent() {
    TAKING.store(false, Ordering::Release);
}

/// Holds off forks while it lives. No signal handler runs on this thread meanwhile: it could fork, and would wait for itself.
struct NoFork {
    _signals: SignalsBlocked,
}

impl NoFork {
    fn here() -> Self {
        let signals = SignalsBlocked::here();
        hold();
        Self { _signals: signals }
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        TAKING.store(false, Ordering::Release);
    }
}

extern "C" fn in_child() {
    for entry in &LOCKED {
        let listed = entry.swap(NONE, Ordering::Relaxed);
        if listed != NONE {
            // SAFETY: the descriptor was open in the parent when it forked, and the child has just been made; its owner
            // never closes it here because `LockedDescriptor::drop` sees the entry gone.
            unsafe { libc::close(!listed) };
        }
    }
    TAKING.store(false, Ordering::Release);
}

/// A descriptor with a lock on it: closed when dropped, and in a forked child at once.
#[derive(Debug)]
pub(super) struct LockedDescriptor {
    descriptor: Option<OwnedFd>,
    entry: usize,
}

impl LockedDescriptor {
    /// Takes the exclusive lock on what `open` opens; `None` when another holds it.
    pub(super) fn try_lock(open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<Option<Self>> {
        // SAFETY: the handlers are plain functions; the child's follows the rules for a forked child.
        let register = || unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
        let registered = *REGISTERED.get_or_init(register);
        if registered != 0 {
            return Err(io::Error::from_raw_os_error(registered));
        }
        let _no_fork = NoFork::here();
        let descriptor = open()?;
        // SAFETY: the descriptor is open.
        if unsafe { libc::flock(descriptor.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        }
        let listed = !descriptor.as_raw_fd();
        let free =
            |entry: &AtomicI32| entry.compare_exchange(NONE, listed, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        match LOCKED.iter().position(free) {
            Some(entry) => Ok(Some(Self { descriptor: Some(descriptor), entry })),
            None => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        }
    }
}

impl Drop for LockedDescriptor {
    fn drop(&mut self) {
        let Some(descriptor) = self.descriptor.take() else { return };
        let listed = !descriptor.as_raw_fd();
        let ours = LOCKED[self.entry].compare_exchange(listed, NONE, Ordering::Relaxed, Ordering::Relaxed);
        if ours.is_err() {
            // Closed in this forked child already; the number may be another file's by now.
            std::mem::forget(descriptor);
            return;
        }
        // Unlocked by word, not by the close alone: a child forked just now may still share what is open here.
        // SAFETY: the descriptor is open.
        unsafe { libc::flock(descriptor.as_raw_fd(), libc::LOCK_UN) };
    }
}
