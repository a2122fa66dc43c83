//! `walrec stats`: where a running recorder stands, from its control pages.

use std::path::Path;
use std::thread;
use std::time::Instant;

use serde::Serialize;
use walrec::recovery::{Position, Standing, standing};

use crate::arguments::Stats;
use crate::failure::Failure;
use crate::info::recorder_of;
use crate::output::{Output, fields, grouped};

/// Lines of `--watch` between two headings.
const LINES_PER_HEADING: u64 = 20;
const HEADING: &str = "    appended       durable       lag     appends/s     durable/s  segment  filled  slots";

/// Two looks, and what happened between them.
#[derive(Serialize)]
struct Look {
    path: String,
    /// running, not_seen (it was killed, or runs in another container) or unknown.
    recorder: &'static str,
    recorder_pid: Option<u32>,
    incarnation: String,
    stage: String,
    appended_event_id: u64,
    durable_event_id: u64,
    /// Ids appended and not durable.
    lag: u64,
    appends_per_second: u64,
    durable_per_second: u64,
    seconds: f64,
    segment: u32,
    segment_events: u64,
    segment_capacity: u32,
    slots: u32,
    slots_in_use: u32,
    slots_prepared: u32,
    poisoned: bool,
}

/// Events between two positions: by slots, segments taken as full when they were left.
fn events_between(before: &Position, after: &Position) -> u64 {
    if before.incarnation != after.incarnation {
        return 0;
    }
    let left = u64::from(after.segment_index.saturating_sub(before.segment_index));
    let place = left * u64::from(after.segment_capacity) + after.segment_events;
    place.saturating_sub(before.segment_events)
}

impl Look {
    fn new(path: &Path, before: &Position, now: &Position, seconds: f64) -> Self {
        let (recorder, recorder_pid) = recorder_of(path, true);
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate"
        )]
        let rate = |events: u64| (events as f64 / seconds).round() as u64;
        Self {
            path: path.display().to_string(),
            recorder,
            recorder_pid,
            incarnation: now.incarnation.to_string(),
            stage: now.stage.display().to_string(),
            appended_event_id: now.appended_event_id,
            durable_event_id: now.durable_event_id,
            lag: now.appended_event_id - now.durable_event_id,
            appends_per_second: rate(events_between(before, now)),
            durable_per_second: rate(now.durable_event_id.saturating_sub(before.durable_event_id)),
            seconds,
            segment: now.segment_index,
            segment_events: now.segment_events,
            segment_capacity: now.segment_capacity,
            slots: now.slots,
            slots_in_use: now.slots_in_use,
            slots_prepared: now.slots_prepared,
            poisoned: now.poisoned,
        }
    }

    fn text(&self) -> String {
        let pid = self.recorder_pid.map_or(String::new(), |pid| format!(", process {pid}"));
        let poisoned = if self.poisoned { "; FAILED: it refuses appends" } else { "" };
        fields(&[
            ("log", self.path.clone()),
            ("recorder", format!("{}{pid}{poisoned}", self.recorder)),
            ("stage", self.stage.clone()),
            ("appended", format!("to {}, {} events/s", self.appended_event_id, grouped(self.appends_per_second))),
            ("durable", format!("to {}, {} ids/s", self.durable_event_id, grouped(self.durable_per_second))),
            ("lag", format!("{} ids", grouped(self.lag))),
            ("segment", format!("{}, {} of {} events", self.segment, self.segment_events, self.segment_capacity)),
            ("slots", format!("{}: {} with events, {} prepared", self.slots, self.slots_in_use, self.slots_prepared)),
        ])
    }

    fn line(&self) -> String {
        let filled = self.segment_events * 100 / u64::from(self.segment_capacity.max(1));
        let poisoned = if self.poisoned { "  FAILED" } else { "" };
        format!(
            "{:>12}  {:>12}  {:>8}  {:>12}  {:>12}  {:>7}  {filled:>4} %  {}+{} of {}{poisoned}",
            self.appended_event_id,
            self.durable_event_id,
            self.lag,
            self.appends_per_second,
            self.durable_per_second,
            self.segment,
            self.slots_in_use,
            self.slots_prepared,
            self.slots
        )
    }
}

fn position(path: &Path) -> Result<Position, Failure> {
    match standing(path)? {
        Standing::Open(position) => Ok(position),
        Standing::Closed => Err(Failure::NotFound(format!("{}: no recorder has it open in this boot", path.display()))),
        Standing::Unseen { stage, why } => {
            Err(Failure::System(format!("{}: the stage cannot be seen from here: {why}", stage.display())))
        }
    }
}

pub(crate) fn run(options: &Stats, output: &mut Output) -> Result<(), Failure> {
    let path = &options.log.directory;
    let mut begin = Instant::now();
    let mut before = position(path)?;
    let mut lines = 0;
    loop {
        thread::sleep(options.interval);
        let now = position(path)?;
        let look = Look::new(path, &before, &now, begin.elapsed().as_secs_f64());
        (before, begin) = (now, Instant::now());
        if !options.watch {
            return output.report(&look, Look::text);
        }
        if lines % LINES_PER_HEADING == 0 && !output.is_json() {
            output.line(HEADING)?;
        }
        output.report(&look, |look| look.line() + "\n")?;
        output.flush()?;
        lines += 1;
        if options.count.is_some_and(|count| lines >= count) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_across_segments() {
        let at = |segment_index, segment_events| Position {
            segment_index,
            segment_events,
            segment_capacity: 4_096,
            ..Position::default()
        };
        assert_eq!(events_between(&at(3, 10), &at(3, 25)), 15);
        assert_eq!(events_between(&at(3, 4_000), &at(5, 10)), 96 + 4_096 + 10);
        let other = Position { incarnation: walrec::format::Id128([1; 16]), ..at(3, 25) };
        assert_eq!(events_between(&at(3, 10), &other), 0, "another opening of the log");
        assert_eq!(events_between(&at(3, 10), &at(3, 5)), 0);
    }
}
