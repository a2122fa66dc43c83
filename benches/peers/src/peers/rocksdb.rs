//! RocksDB's write-ahead log, from Debian's librocksdb-dev, by its C face.

use std::ffi::{CStr, CString, c_char, c_int, c_uchar, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{ptr, slice};

use crate::event::Event;
use crate::peer::{Outcome, Peer, Purpose, Survives};

type Handle = *mut c_void;
type Failure = *mut *mut c_char;

unsafe extern "C" {
    fn rocksdb_options_create() -> Handle;
    fn rocksdb_options_set_create_if_missing(options: Handle, on: c_uchar);
    fn rocksdb_options_set_allow_concurrent_memtable_write(options: Handle, on: c_uchar);
    fn rocksdb_options_set_memtable_vector_rep(options: Handle);
    fn rocksdb_options_set_compression(options: Handle, kind: c_int);
    fn rocksdb_open(options: Handle, path: *const c_char, failure: Failure) -> Handle;
    fn rocksdb_close(db: Handle);
    fn rocksdb_writeoptions_create() -> Handle;
    fn rocksdb_writeoptions_set_sync(options: Handle, on: c_uchar);
    fn rocksdb_writebatch_create() -> Handle;
    fn rocksdb_writebatch_clear(batch: Handle);
    fn rocksdb_writebatch_count(batch: Handle) -> c_int;
    fn rocksdb_writebatch_put(batch: Handle, key: *const u8, key_bytes: usize, value: *const u8, value_bytes: usize);
    fn rocksdb_write(db: Handle, options: Handle, batch: Handle, failure: Failure);
    fn rocksdb_flush_wal(db: Handle, sync: c_uchar, failure: Failure);
    fn rocksdb_readoptions_create() -> Handle;
    fn rocksdb_create_iterator(db: Handle, options: Handle) -> Handle;
    fn rocksdb_iter_seek_to_first(iterator: Handle);
    fn rocksdb_iter_valid(iterator: Handle) -> c_uchar;
    fn rocksdb_iter_next(iterator: Handle);
    fn rocksdb_iter_value(iterator: Handle, bytes: *mut usize) -> *const u8;
    fn rocksdb_iter_get_error(iterator: Handle, failure: Failure);
    fn rocksdb_iter_destroy(iterator: Handle);
}

/// Does a call that tells its failure by a text.
fn told<T>(call: impl FnOnce(Failure) -> T) -> Outcome<T> {
    let mut failure = ptr::null_mut();
    let value = call(&raw mut failure);
    if failure.is_null() {
        return Ok(value);
    }
    // SAFETY: RocksDB's failures are terminated texts; one that ends the process need not be freed.
    Err(unsafe { CStr::from_ptr(failure) }.to_string_lossy().into_owned().into())
}

/// Keys and values, appended in order; the memtable is a vector, the cheapest there is.
pub struct RocksDb {
    db: Handle,
    write: Handle,
    batch: Handle,
    purpose: Purpose,
}

impl Peer for RocksDb {
    const NAME: &'static str = "RocksDB";
    const SURVIVES: Survives = Survives::Kill;
    const LIES_IN: &'static str = "page cache; a full memtable becomes a synced table";
    const SETTINGS: &'static str =
        "WAL on, memtable a vector of 64 MiB, no compression; a write each event, one with sync for all of a sync";

    fn version() -> String {
        env!("VERSION_ROCKSDB").into()
    }

    fn open(dir: &Path, purpose: Purpose) -> Outcome<Self> {
        let path = CString::new(dir.as_os_str().as_bytes())?;
        // SAFETY: handles are of the kinds that the functions take, and live as long as the process.
        unsafe {
            let options = rocksdb_options_create();
            rocksdb_options_set_create_if_missing(options, 1);
            rocksdb_options_set_memtable_vector_rep(options);
            rocksdb_options_set_allow_concurrent_memtable_write(options, 0);
            rocksdb_options_set_compression(options, 0);
            let db = told(|failure| rocksdb_open(options, path.as_ptr(), failure))?;
            let write = rocksdb_writeoptions_create();
            rocksdb_writeoptions_set_sync(write, c_uchar::from(purpose == Purpose::Syncing));
            Ok(Self { db, write, batch: rocksdb_writebatch_create(), purpose })
        }
    }

    #[inline(always)]
    fn append(&mut self, event: &Event) -> Outcome<()> {
        let (key, value) = (event.event_id.to_be_bytes(), event.bytes());
        // SAFETY: open handles; key and value are copied.
        unsafe { rocksdb_writebatch_put(self.batch, key.as_ptr(), key.len(), value.as_ptr(), value.len()) };
        if self.purpose == Purpose::Accepting { self.write() } else { Ok(()) }
    }

    fn sync(&mut self) -> Outcome<()> {
        // SAFETY: open handles.
        unsafe {
            if rocksdb_writebatch_count(self.batch) == 0 {
                return told(|failure| rocksdb_flush_wal(self.db, 1, failure));
            }
        }
        self.write()
    }

    fn replay(dir: &Path, each: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let db = Self::open(dir, Purpose::Accepting)?.db;
        // SAFETY: open handles; a value is valid until the iterator moves.
        unsafe {
            let iterator = rocksdb_create_iterator(db, rocksdb_readoptions_create());
            rocksdb_iter_seek_to_first(iterator);
            while rocksdb_iter_valid(iterator) != 0 {
                let mut bytes = 0;
                let value = rocksdb_iter_value(iterator, &raw mut bytes);
                each(slice::from_raw_parts(value, bytes));
                rocksdb_iter_next(iterator);
            }
            told(|failure| rocksdb_iter_get_error(iterator, failure))?;
            rocksdb_iter_destroy(iterator);
            rocksdb_close(db);
        }
        Ok(())
    }
}

impl RocksDb {
    fn write(&mut self) -> Outcome<()> {
        // SAFETY: open handles.
        unsafe {
            told(|failure| rocksdb_write(self.db, self.write, self.batch, failure))?;
            rocksdb_writebatch_clear(self.batch);
        }
        Ok(())
    }
}
