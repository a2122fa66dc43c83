//! A file that a command was told to write: a new one, outside of the log, which has its name only when it is whole.
//!
//! Invariants:
//! 1. Nothing that is there is replaced, and nothing is made in the log's directory or below it.
//! 2. Until [`NewFile::finish`] the bytes lie beside it under `.NAME.PID.part`, which is removed on every other way out, also when
//!    it is interrupted. A killed command leaves that name, never the final one.
//! 3. What has the final name is synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;

use crate::failure::Failure;

pub(crate) struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    bytes: u64,
}

impl NewFile {
    /// Begins a file that is to be `path`, for events of `log`.
    pub(crate) fn create(path: &Path, log: &Path) -> Result<Self, Failure> {
        let log = fs::canonicalize(log).map_err(|error| Failure::io("open", log, &error))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = fs::canonicalize(parent).map_err(|error| Failure::io("open", parent, &error))?;
        if folder.starts_with(&log) {
            return Err(Failure::Usage(format!(
                "{}: lies in the log directory, where nothing is written",
                path.display()
            )));
        }
        if fs::symlink_metadata(path).is_ok() {
            return Err(is_there(path));
        }
        let Some(name) = path.file_name() else {
            return Err(Failure::Usage(format!("{}: is no name for a file", path.display())));
        };
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(format!(".{}.part", process::id()));
        let temporary = parent.join(part);
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary);
        let file = file.map_err(|error| Failure::io("create", path, &error))?;
        Ok(Self { path: path.to_owned(), temporary, file, bytes: 0 })
    }

    /// The path that it is to have.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs it and gives it its name; its bytes.
    pub(crate) fn finish(self) -> Result<u64, Failure> {
        self.file.sync_all().map_err(|error| Failure::io("sync", &self.path, &error))?;
        match fs::hard_link(&self.temporary, &self.path) {
            Ok(()) => Ok(self.bytes),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(is_there(&self.path)),
            // A file system without links: the look at the beginning has to do.
            Err(_) => match fs::rename(&self.temporary, &self.path) {
                Ok(()) => Ok(self.bytes),
                Err(error) => Err(Failure::io("rename", &self.path, &error)),
            },
        }
    }
}

fn is_there(path: &Path) -> Failure {
    Failure::Usage(format!("{}: is there already", path.display()))
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}
