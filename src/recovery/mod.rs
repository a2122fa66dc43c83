//! Reading a log: every event checked, in order, from files alone.
//!
//! [`Manager`] goes from segment to segment, [`SegmentReader`](segment_reader) from block to block,
//! [`SegmentPreloader`](segment_preloader) reads the pieces that come next. Takes no lock, writes nothing,
//! and reads with pread, so that a file cut by someone else is a short read and not a signal. Beside a running recorder it
//! gives what is durable. [`Salvager`] passes over damage, [`verify`](fn@verify) judges a whole log,
//! [`standing`](fn@standing) tells where its recorder stands.

mod durable_limit;
mod error;
mod forms;
mod manager;
mod salvage;
mod segment_preloader;
mod segment_reader;
mod standing;
mod verify;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::segment::{Identity, read_identity};
use crate::storage::{Directory, Place, System};

pub use error::Error;
pub use manager::Manager;
pub use salvage::{Gap, Item, Salvager};
pub use standing::{Position, Standing, standing};
pub use verify::{Fault, VerifyReport, verify, verify_on, verify_with};

/// One call in so many that go for more events is timed: it is a block's time, and taking it 2 % of that.
const NEXT_SAMPLE: u32 = 4;

/// Opens a log directory to be read.
fn open_log(system: &dyn System, path: &Path) -> Result<Arc<dyn Directory>, Error> {
    match system.open_directory(path, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::NotFound(format!("{}: no such directory", path.display())))
        }
        other => Ok(other.at("open", path, "")?),
    }
}

/// A directory without a segment is a log only if a recorder has begun one there.
fn hold_begun(directory: &dyn Directory) -> Result<(), Error> {
    match read_identity(directory)? {
        Identity::Missing => Err(Error::NotFound(format!("{}: no log there", directory.path().display()))),
        Identity::Damaged | Identity::Known(_) => Ok(()),
    }
}
