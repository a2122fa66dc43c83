//! A bell: rung by whoever has news for a sleeping worker, never by the append thread.

use std::sync::PoisonError;
use std::time::Duration;

use super::primitives::{Condvar, Mutex};

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
#[cfg(not(loom))]
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

#[cfg(loom)]
mod models {
    use super::*;
    use crate::sync::modelled::{Weakened, fails, holds};
    use crate::sync::primitives::{Arc, AtomicBool};
    use std::sync::atomic::Ordering;

    /// A sleeper that has work when it is told so, and a bell that tells it.
    fn run(tell: impl Fn(&Bell, &AtomicBool) + Send + Sync + Copy + 'static) {
        let parts = Arc::new((Bell::default(), AtomicBool::new(false)));
        let other = Arc::clone(&parts);
        let sleeper = loom::thread::spawn(move || {
            while !other.1.load(Ordering::Relaxed) {
                other.0.sleep(Duration::ZERO);
            }
        });
        tell(&parts.0, &parts.1);
        sleeper.join().unwrap();
    }

    #[test]
    fn no_ring_is_lost() {
        holds("bell", || {
            run(|bell, work| {
                work.store(true, Ordering::Relaxed);
                bell.ring();
            });
        });
        holds("bell, rung twice", || {
            run(|bell, work| {
                bell.ring();
                work.store(true, Ordering::Relaxed);
                bell.ring();
            });
        });
        fails("bell without its word", Weakened::Nothing, || {
            run(|bell, work| {
                work.store(true, Ordering::Relaxed);
                bell.condition.notify_all();
            });
        });
        fails("bell rung before the news", Weakened::Nothing, || {
            run(|bell, work| {
                bell.ring();
                work.store(true, Ordering::Relaxed);
            });
        });
    }
}
