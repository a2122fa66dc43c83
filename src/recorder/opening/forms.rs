//! Segments that stand there in both forms: their recorder ended between the rename of the `.wal.lz4` and the retiring of the `.wal`.
//!
//! The `.wal` counts if it verifies whole, and is frozen again by the maintainer; else the `.wal.lz4` if that does, and the repair
//! moves the `.wal` to the quarantine; else the segment is corrupt. There is one such segment at the most after a crash of this library,
//! so the cost does not depend on the log. Changes nothing on disk.

use std::collections::BTreeSet;

use crate::format::Reason;
use crate::recorder::config::{Config, LogLevel};
use crate::recorder::error::Error;
use crate::segment::{self, Catalog, Corruption, Counting, counting_form};
use crate::storage::Directory;

/// What was decided.
#[derive(Debug, Default)]
pub(super) struct Forms {
    /// The `.wal.lz4` counts; the catalog no longer has the `.wal`.
    pub(super) superseded: BTreeSet<u32>,
    /// Salvage: neither verifies.
    pub(super) broken: BTreeSet<u32>,
}

/// Decides for each segment in both forms, and takes a `.wal` that does not count out of the catalog.
///
/// # Errors
/// [`BothForms`](crate::format::Reason::BothForms) when neither verifies, without salvage; the system's.
pub(super) fn settle(directory: &dyn Directory, catalog: &mut Catalog, config: &Config) -> Result<Forms, Error> {
    let mut forms = Forms::default();
    let both: Vec<u32> = catalog.hot.intersection(&catalog.frozen).copied().collect();
    for index in both {
        match counting_form(directory, index) {
            Counting::Hot => {}
            Counting::Frozen { hot } => {
                let hot = damage(hot)?;
                config.log.log(LogLevel::Error, &format!("{hot}: the compressed form is whole and counts"));
                catalog.hot.remove(&index);
                forms.superseded.insert(index);
            }
            Counting::Neither { hot, frozen } => {
                let (hot, frozen) = (damage(hot)?, damage(frozen)?);
                if !config.salvage {
                    return Err(Error::Corrupt(Box::new(hot.in_both_forms(&frozen))));
                }
                config.log.log(LogLevel::Error, &format!("salvage: {hot}; {frozen}"));
                forms.broken.insert(index);
            }
        }
    }
    Ok(forms)
}

/// Damage of the bytes; an error of the system, or a newer format, is an error here too.
pub(super) fn damage(wrong: segment::Error) -> Result<Box<Corruption>, Error> {
    match wrong {
        segment::Error::Corrupt(newer) if newer.reason == Reason::Version => {
            Err(segment::Error::Newer { path: newer.path, offset: newer.offset }.into())
        }
        segment::Error::Corrupt(corruption) => Ok(corruption),
        error => Err(error.into()),
    }
}
