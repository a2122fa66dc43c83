//! Who wants to be told, once, when an event is durable, and has no thread to wait for it with.

use std::sync::{Mutex, PoisonError};

use crate::storage::Doorbell;

/// The doorbells, each with the event that it is to ring for.
#[derive(Debug, Default)]
pub(crate) struct Notices(Mutex<Vec<(u64, Doorbell)>>);

impl Notices {
    pub(crate) fn add(&self, event_id: u64, bell: Doorbell) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((event_id, bell));
    }

    /// Rings those that wait for an event up to `event_id`, and forgets them.
    pub(crate) fn ring(&self, event_id: u64) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extract_if(.., |(wanted, _)| *wanted <= event_id).for_each(|(_, bell)| bell.ring());
    }
}
