//! A bell: rung by whoever has news for a sleeping worker, never by the append thread.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Wakes one sleeper. A ring before the sleep is not lost: the next sleep ends at once.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<bool>,
    condition: Condvar,
}

impl Bell {
    /// Wakes the sleeper, or the next one that lies down.
    pub fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.condition.notify_all();
    }

    /// Sleeps until the bell rings or `limit` has passed; whether it rang.
    pub fn sleep(&self, limit: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) =
            self.condition.wait_timeout_while(rung, limit, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rung)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_ring_is_kept_and_counts_once() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        assert!(bell.sleep(Duration::from_secs(3_600)));
        assert!(!bell.sleep(Duration::ZERO));
    }
}
