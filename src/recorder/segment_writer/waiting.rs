//! The next prepared segment, or the wait for one.
//!
//! By [`FullPolicy`]: spinning up to a limit, or a refusal at once. In both nothing is half recorded: the writer has not changed anything yet.
//! The append thread never yields or sleeps, and measures time without a system call.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::SegmentWriter;
use crate::recorder::config::FullPolicy;
use crate::recorder::error::AppendError;
use crate::recorder::lifecycle::PreparedSegment;
use crate::telemetry::{Count, Moment, Timing};

/// Spins between two looks at the clock.
const SPINS_PER_LOOK: u32 = 64;

impl SegmentWriter {
    pub(super) fn take_prepared(&mut self) -> Result<PreparedSegment, AppendError> {
        if let Some(prepared) = self.prepared.pop() {
            return Ok(prepared);
        }
        if let FullPolicy::Wait { limit_us } = self.shared.config.full_policy {
            let begin = Moment::now();
            let waited = self.wait_for_prepared(Duration::from_micros(limit_us.into()));
            self.shared.telemetry.record_since(Timing::PreparedWait, begin);
            if let Some(prepared) = waited? {
                return Ok(prepared);
            }
        }
        let full = self.shared.no_space.load(Ordering::Acquire) != 0;
        self.shared.telemetry.count(if full { Count::NoSpace } else { Count::Backpressure }, 1);
        Err(if full { AppendError::NoSpace } else { AppendError::Backpressure })
    }

    fn wait_for_prepared(&mut self, limit: Duration) -> Result<Option<PreparedSegment>, AppendError> {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            for _ in 0..SPINS_PER_LOOK {
                if let Some(prepared) = self.prepared.pop() {
                    return Ok(Some(prepared));
                }
                std::hint::spin_loop();
            }
            self.check_usable()?;
        }
        Ok(None)
    }
}
