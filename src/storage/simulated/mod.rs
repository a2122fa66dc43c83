//! A simulated operating system that can lose its power, or only its process, at every step.
//!
//! It keeps two images of everything, what calls see and what the disk holds, with directory entries apart from file
//! contents, and makes from any moment the worlds that a crash could leave. Nothing in it depends on time or chance but
//! its seeds. For tests only (feature `simulation`).
//!
//! What it promises, each shown by a test:
//! 1. A file's bytes and size are durable after its `sync_data`, its entry after the directory's `sync`; neither implies
//!    the other. A rename is durable as a whole or not at all.
//! 2. After a failed `sync_data` the bytes stay readable, and no later sync makes them durable unless they are written
//!    again. A failed directory sync leaves its changes to the next one.
//! 3. A power cut leaves the durable bytes with any unsynced sectors, and any sensible subset of the entry changes; what
//!    lies in memory is gone. A process crash leaves everything as calls saw it.
//! 4. The same calls and the same seed give the same world.
//!
//! Stores through a mapping are no calls: they are not counted and go on after the machine is off. A snapshot must not be
//! taken while another thread stores; the one taken at the crash point shows what the mapping held then.

mod calls;
mod control;
mod crash;
mod disk;
mod entries;
mod fault;
mod random;
#[cfg(test)]
mod tests;
mod world;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::calls::Call;
use self::disk::FileNode;
use self::entries::{names_of, path_of, plain};
use self::world::World;
use super::{Access, Directory, DirectoryAttributes, DirectoryIdentity, File, FileAttributes, Mapping, System};
use crate::format::Id128;

pub use crash::{CrashOptions, EntryChanges, MayTrash, Sectors, Snapshot};
pub use disk::SECTOR_BYTES;
pub use fault::{Effect, Fault, OperationKind, Repeat, is_machine_off};

type SharedWorld = Arc<Mutex<World>>;

fn lock(world: &SharedWorld) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A simulated machine; a clone is the same machine.
///
/// A new one has a root directory and, in memory, `/dev/shm`. Paths are absolute. The methods here are the test's, not the
/// program's: they are no operations, no fault strikes them, and unless said otherwise what they change is durable at
/// once, with the pending entry changes of the directories they touch. They panic when the path makes no sense.
#[derive(Clone)]
pub struct SimulatedSystem {
    world: SharedWorld,
}

impl fmt::Debug for SimulatedSystem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SimulatedSystem")
    }
}

impl SimulatedSystem {
    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

impl System for SimulatedSystem {
    fn open_directory(&self, path: &Path, _follow: bool) -> io::Result<Arc<dyn Directory>> {
        let mut world = self.world();
        world.strike(OperationKind::Open, path)?;
        let inode = world.resolve(path)?;
        Ok(Arc::new(SimulatedDirectory::open(&self.world, &mut world, inode, path.to_path_buf())?))
    }

    fn create_directory(&self, path: &Path) -> io::Result<bool> {
        let mut world = self.world();
        let (parent, name) = world.resolve_parent(path)?;
        let created = world.create_directory(parent, &name, path)?;
        if created {
            world.sync_directory(parent, path.parent().unwrap_or(path))?;
        }
        Ok(created)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.world().remove_directory(path)
    }

    fn rename_directory(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let ((from_parent, from_name), (to_parent, to_name)) = (world.resolve_parent(from)?, world.resolve_parent(to)?);
        world.rename((from_parent, &from_name), (to_parent, &to_name), false, from)
    }

    fn absolute_path(&self, path: &Path) -> io::Result<PathBuf> {
        self.world().resolve(path)?;
        Ok(path_of(&names_of(path)?))
    }

    fn boot_id(&self) -> io::Result<Id128> {
        Ok(self.world().boot_id)
    }

    fn random_id(&self) -> io::Result<Id128> {
        Ok(self.world().random_id())
    }

    fn realtime_ns(&self) -> u64 {
        self.world().tick()
    }
}

struct SimulatedDirectory {
    world: SharedWorld,
    inode: u64,
    path: PathBuf,
    /// The process that opened it, and who it is as a holder of a lock.
    process: u64,
    holder: u64,
}

impl SimulatedDirectory {
    fn open(shared: &SharedWorld, world: &mut World, inode: u64, path: PathBuf) -> io::Result<Self> {
        world.directory(inode)?;
        let holder = world.new_holder();
        Ok(Self { world: Arc::clone(shared), inode, path, process: world.process, holder })
    }

    /// The world for a changing call.
    fn changing(&self) -> io::Result<MutexGuard<'_, World>> {
        living(lock(&self.world), self.process)
    }

    fn open_node(&self, world: &mut World, inode: u64, name: &str, access: Access) -> Box<dyn File> {
        world.open(inode);
        let path = self.path.join(name);
        Box::new(SimulatedFile { world: Arc::clone(&self.world), inode, path, access, process: world.process })
    }
}

fn living(world: MutexGuard<'_, World>, process: u64) -> io::Result<MutexGuard<'_, World>> {
    if world.process == process { Ok(world) } else { Err(fault::process_gone()) }
}

impl fmt::Debug for SimulatedDirectory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SimulatedDirectory({})", self.path.display())
    }
}

impl Drop for SimulatedDirectory {
    fn drop(&mut self) {
        let mut world = lock(&self.world);
        if world.process == self.process && world.locks.get(&self.inode) == Some(&self.holder) {
            world.locks.remove(&self.inode);
        }
    }
}

impl Directory for SimulatedDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn attributes(&self) -> io::Result<DirectoryAttributes> {
        let world = lock(&self.world);
        let (node, directory) = (world.node(self.inode)?, world.directory(self.inode)?);
        Ok(DirectoryAttributes {
            identity: DirectoryIdentity { device: node.device(), inode: self.inode },
            mode: directory.mode,
            owned: directory.owned,
            foreign: !directory.owned,
            in_memory: node.in_memory,
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let world = lock(&self.world);
        Ok(world.room(world.node(self.inode)?.in_memory))
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut world = self.changing()?;
        let free = !world.locks.contains_key(&self.inode);
        if free {
            world.locks.insert(self.inode, self.holder);
        }
        Ok(free)
    }

    fn names(&self) -> io::Result<Vec<OsString>> {
        let mut world = lock(&self.world);
        world.strike(OperationKind::List, &self.path)?;
        Ok(world.directory(self.inode)?.entries.keys().map(OsString::from).collect())
    }

    fn open_file(&self, name: &str, access: Access) -> io::Result<Box<dyn File>> {
        let mut world = lock(&self.world);
        world.strike(OperationKind::Open, &self.path.join(name))?;
        let inode = world.lookup(self.inode, plain(name)?)?;
        if world.file(inode).is_err() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(self.open_node(&mut world, inode, name, access))
    }

    fn create_file(&self, name: &str, access: Access) -> io::Result<Box<dyn File>> {
        let mut world = self.changing()?;
        let inode = world.create_file(self.inode, name, &self.path.join(name))?;
        Ok(self.open_node(&mut world, inode, name, access))
    }

    fn is_open_to_others(&self, _name: &str) -> io::Result<bool> {
        Ok(false)
    }

    fn open_subdirectory(&self, name: &str) -> io::Result<Arc<dyn Directory>> {
        let mut world = lock(&self.world);
        let path = self.path.join(name);
        world.strike(OperationKind::Open, &path)?;
        let inode = world.lookup(self.inode, plain(name)?)?;
        Ok(Arc::new(Self::open(&self.world, &mut world, inode, path)?))
    }

    fn create_subdirectory(&self, name: &str) -> io::Result<bool> {
        self.changing()?.create_directory(self.inode, name, &self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.changing()?.rename((self.inode, from), (self.inode, to), true, &self.path.join(from))
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.changing()?.rename((self.inode, from), (self.inode, to), false, &self.path.join(from))
    }

    fn move_into(&self, from: &str, subdirectory: &str, to: &str) -> io::Result<()> {
        let mut world = self.changing()?;
        let target = world.lookup(self.inode, plain(subdirectory)?)?;
        world.rename((self.inode, from), (target, to), false, &self.path.join(from))
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.changing()?.remove_file(self.inode, name, &self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.changing()?.sync_directory(self.inode, &self.path)
    }
}

struct SimulatedFile {
    world: SharedWorld,
    inode: u64,
    /// The path it was opened by, for faults and messages.
    path: PathBuf,
    access: Access,
    process: u64,
}

impl SimulatedFile {
    fn changing(&self) -> io::Result<MutexGuard<'_, World>> {
        living(lock(&self.world), self.process)
    }

    fn call(&self) -> Call<'_> {
        Call { path: &self.path, access: self.access }
    }
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SimulatedFile({})", self.path.display())
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut world = lock(&self.world);
        if world.process == self.process {
            world.close(self.inode);
        }
    }
}

impl File for SimulatedFile {
    fn attributes(&self) -> io::Result<FileAttributes> {
        let world = lock(&self.world);
        Ok(FileAttributes { bytes: world.file(self.inode).map(FileNode::bytes)?, links: world.node(self.inode)?.links })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        lock(&self.world).read(self.inode, buffer, offset, self.call())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.changing()?.write(self.inode, bytes, offset, self.call())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.changing()?.allocate(self.inode, bytes, self.call())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.changing()?.set_len(self.inode, bytes, self.call())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.changing()?.sync_data(self.inode, &self.path)
    }

    fn drop_cache(&self, _range: Range<u64>) {}

    fn map(&self, bytes: usize) -> io::Result<Mapping> {
        let mut world = self.changing()?;
        world.strike(OperationKind::Map, &self.path)?;
        self.call().check_writable()?;
        world.file_mut(self.inode)?.map(bytes)
    }
}
