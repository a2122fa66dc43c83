//! MetaStore: the durable position in memory, waiting to be written to `wal_meta.dat`.
//!
//! The flusher updates it after each sync that succeeded, never before, so the file is a lower bound of what is durable.
//! The append thread never touches it.

use std::sync::{Mutex, PoisonError};

use crate::format::MetaPosition;

#[derive(Debug, Default)]
struct State {
    position: MetaPosition,
    dirty: bool,
    wanted: bool,
}

/// The durable position and whether the file lags behind it.
#[derive(Debug, Default)]
pub(crate) struct MetaStore(Mutex<State>);

impl MetaStore {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins with what the file says, which is to be written again in any case: after a salvage the position may be none at all, and the
    /// file must not be held against the next opening.
    pub(crate) fn of_file(position: MetaPosition) -> Self {
        Self(Mutex::new(State { position, dirty: position != MetaPosition::default(), wanted: false }))
    }

    /// A new durable position.
    pub(crate) fn update(&self, position: MetaPosition) {
        self.with(|state| {
            state.dirty |= state.position != position;
            state.position = position;
        });
    }

    /// Asks for the file to be written soon.
    pub(crate) fn want_flush(&self) {
        self.with(|state| state.wanted = true);
    }

    /// The durable position.
    pub(crate) fn position(&self) -> MetaPosition {
        self.with(|state| state.position)
    }

    /// The position to write, when the file lags behind, and whether it was asked for.
    pub(crate) fn pending(&self) -> Option<(MetaPosition, bool)> {
        self.with(|state| state.dirty.then_some((state.position, state.wanted)))
    }

    /// `position` has been written; a newer one stays dirty.
    pub(crate) fn written(&self, position: MetaPosition) {
        self.with(|state| {
            state.dirty = state.position != position;
            state.wanted = false;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dirty_is_cleared_only_for_what_was_written() {
        let position = |last_event_id| MetaPosition { segment_index: 0, offset: 64, last_event_id };
        let store = MetaStore::default();
        assert_eq!(store.pending(), None);
        store.update(position(1));
        store.want_flush();
        assert_eq!(store.pending(), Some((position(1), true)));
        store.update(position(2));
        store.written(position(1));
        assert_eq!(store.pending(), Some((position(2), false)));
        store.written(position(2));
        assert_eq!(store.pending(), None);
    }
}
