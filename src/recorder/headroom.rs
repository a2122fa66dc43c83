//! The part of a telemetry snapshot that the cells do not have: positions, what is left of stage and disk, and flags.

use super::opening::OpenFlags;
use super::shared::Shared;
use crate::format::{BLOCK_BYTES, EVENTS_PER_BLOCK};
use crate::telemetry::{Count, Snapshot};

impl Shared {
    /// The cells, and the rest. `open_flags` are the open report's.
    pub(super) fn telemetry_snapshot(&self, open_flags: u32) -> Snapshot {
        let mut snapshot = self.telemetry.snapshot();
        // After the cells: what is durable was appended before.
        snapshot.set_count(Count::EventsAppended, self.events_appended());
        let gauges = &mut snapshot.gauges;
        // Durable first: it is never above the last one.
        gauges.durable_event_id = self.durable_event_id();
        gauges.last_event_id = self.last_event_id();
        let capacity = u64::from(self.geometry.capacity());
        let active = self.active().map_or(0, |(_, slot)| {
            capacity.saturating_sub(self.slot(slot).published().load(std::sync::atomic::Ordering::Acquire))
        });
        gauges.stage_room_events = gauges.prepared_now.saturating_mul(capacity).saturating_add(active);
        gauges.free_bytes = self.directory.free_bytes().unwrap_or(u64::MAX);
        gauges.stage_seconds = seconds(gauges.stage_room_events, gauges.append_rate);
        gauges.log_seconds = match gauges.free_bytes {
            u64::MAX => u64::MAX,
            bytes => seconds(events_in(bytes), gauges.append_rate),
        };
        gauges.stage_on_disk = u64::from(open_flags & OpenFlags::STAGE_ON_DISK != 0);
        gauges.stage_not_locked = u64::from(open_flags & OpenFlags::NOT_LOCKED_IN_MEMORY != 0);
        gauges.out_of_space = u64::from(self.no_space.load(std::sync::atomic::Ordering::Acquire) != 0);
        gauges.poisoned = u64::from(self.is_poisoned());
        snapshot
    }
}

/// Events that so many bytes of blocks hold.
fn events_in(bytes: u64) -> u64 {
    (bytes / BLOCK_BYTES as u64).saturating_mul(EVENTS_PER_BLOCK.into())
}

/// Whole seconds; without a rate there is no end.
fn seconds(events: u64, per_second: u64) -> u64 {
    events.checked_div(per_second).unwrap_or(u64::MAX)
}
