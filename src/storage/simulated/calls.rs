//! The changing calls and the reads: each counts, may be struck by a fault, and then does its work on the world.

use std::io;
use std::path::Path;

use super::disk::{FileNode, index};
use super::entries::plain;
use super::fault::OperationKind;
use super::world::{Node, World, errno};
use crate::format::PAGE_BYTES;
use crate::storage::Access;

/// What direct reads come in; direct writes come in pages.
const DIRECT_READ_BYTES: usize = 512;

/// Who makes a call on an open file.
#[derive(Clone, Copy)]
pub(super) struct Call<'path> {
    pub(super) path: &'path Path,
    pub(super) access: Access,
}

impl Call<'_> {
    pub(super) fn check_writable(self) -> io::Result<()> {
        if self.access == Access::Read { Err(errno(libc::EBADF)) } else { Ok(()) }
    }

    /// Direct I/O wants whole units; everything else does not care.
    fn check_alignment(self, bytes: &[u8], offset: u64, unit: usize) -> io::Result<()> {
        let address = bytes.as_ptr().addr();
        let aligned = [address, bytes.len()].iter().all(|number| number.is_multiple_of(unit))
            && offset.is_multiple_of(unit as u64);
        if self.access == Access::WriteDirect && !aligned { Err(errno(libc::EINVAL)) } else { Ok(()) }
    }
}

impl World {
    // Calls on directories.

    pub(super) fn create_file(&mut self, directory: u64, name: &str, path: &Path) -> io::Result<u64> {
        self.begin(OperationKind::Create, path)?;
        self.add(directory, name, |in_memory| Node::file(FileNode::new(in_memory), in_memory))
    }

    /// `false` when the directory was there.
    pub(super) fn create_directory(&mut self, directory: u64, name: &str, path: &Path) -> io::Result<bool> {
        self.begin(OperationKind::Create, path)?;
        match self.add(directory, name, Node::directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other.map(|_| true),
        }
    }

    pub(super) fn rename(&mut self, from: (u64, &str), to: (u64, &str), replace: bool, path: &Path) -> io::Result<()> {
        self.begin(OperationKind::Rename, path)?;
        self.relink(from, to, replace)
    }

    pub(super) fn remove_file(&mut self, directory: u64, name: &str, path: &Path) -> io::Result<()> {
        self.begin(OperationKind::Remove, path)?;
        self.file(self.lookup(directory, plain(name)?)?)?;
        self.unlink(directory, name)
    }

    pub(super) fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        self.begin(OperationKind::Remove, path)?;
        let (parent, name) = self.resolve_parent(path)?;
        let directory = self.directory(self.lookup(parent, &name)?)?;
        if directory.is_memory_mount {
            return Err(errno(libc::EBUSY));
        }
        if !directory.entries.is_empty() {
            return Err(errno(libc::ENOTEMPTY));
        }
        self.unlink(parent, &name)
    }

    pub(super) fn sync_directory(&mut self, inode: u64, path: &Path) -> io::Result<()> {
        self.begin(OperationKind::SyncDirectory, path)?;
        self.settle_directory(inode)
    }

    // Calls on files.

    pub(super) fn open(&mut self, inode: u64) {
        *self.opens.entry(inode).or_default() += 1;
    }

    pub(super) fn close(&mut self, inode: u64) {
        if let Some(opens) = self.opens.get_mut(&inode) {
            *opens -= 1;
            if *opens == 0 {
                self.opens.remove(&inode);
                self.collect();
            }
        }
    }

    pub(super) fn read(&mut self, inode: u64, buffer: &mut [u8], offset: u64, call: Call<'_>) -> io::Result<usize> {
        let short = self.strike(OperationKind::Read, call.path)?;
        call.check_alignment(buffer, offset, DIRECT_READ_BYTES)?;
        let len = short.unwrap_or(usize::MAX).min(buffer.len());
        Ok(self.file(inode)?.read(&mut buffer[..len], offset))
    }

    pub(super) fn write(&mut self, inode: u64, bytes: &[u8], offset: u64, call: Call<'_>) -> io::Result<usize> {
        let short = self.begin(OperationKind::Write, call.path)?;
        call.check_writable()?;
        call.check_alignment(bytes, offset, PAGE_BYTES)?;
        let end = offset.checked_add(bytes.len() as u64).ok_or_else(|| errno(libc::EFBIG))?;
        let mut len = short.unwrap_or(usize::MAX).min(bytes.len());
        let charged = self.file(inode)?.charged;
        let needed = end.next_multiple_of(PAGE_BYTES as u64).saturating_sub(charged);
        if needed > 0 {
            let room = self.room(self.node(inode)?.in_memory);
            if room < needed {
                // What fits is written, as Linux does.
                let fits = charged + room / PAGE_BYTES as u64 * PAGE_BYTES as u64;
                len = len.min(index(fits.saturating_sub(offset)));
                if len == 0 && !bytes.is_empty() {
                    return Err(errno(libc::ENOSPC));
                }
            }
        }
        let file = self.file_mut(inode)?;
        file.write(&bytes[..len], offset)?;
        file.charged = charged.max((offset + len as u64).next_multiple_of(PAGE_BYTES as u64));
        Ok(len)
    }

    pub(super) fn allocate(&mut self, inode: u64, bytes: u64, call: Call<'_>) -> io::Result<()> {
        self.begin(OperationKind::Allocate, call.path)?;
        call.check_writable()?;
        let charged = self.file(inode)?.charged;
        let wanted = bytes.checked_next_multiple_of(PAGE_BYTES as u64).ok_or_else(|| errno(libc::EFBIG))?;
        if wanted.saturating_sub(charged) > self.room(self.node(inode)?.in_memory) {
            return Err(errno(libc::ENOSPC));
        }
        let file = self.file_mut(inode)?;
        file.resize(bytes.max(file.bytes()))?;
        file.charged = charged.max(wanted);
        Ok(())
    }

    pub(super) fn set_len(&mut self, inode: u64, bytes: u64, call: Call<'_>) -> io::Result<()> {
        self.begin(OperationKind::SetLen, call.path)?;
        call.check_writable()?;
        let file = self.file_mut(inode)?;
        file.resize(bytes)?;
        file.charged = file.charged.min(bytes.next_multiple_of(PAGE_BYTES as u64));
        Ok(())
    }

    pub(super) fn sync_data(&mut self, inode: u64, path: &Path) -> io::Result<()> {
        self.step()?;
        let struck = self.strike(OperationKind::SyncData, path);
        let file = self.file_mut(inode)?;
        match struck {
            Ok(_) => file.sync(),
            Err(_) => file.fail_sync(),
        }
        struck.map(drop)
    }
}
