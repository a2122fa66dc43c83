//! `walrec replay`: events to standard output at a rate.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::arguments::Replay;
use crate::dump::RangeReader;
use crate::failure::Failure;
use crate::output::{Output, grouped, say};

/// Shorter waits than this are not slept: the sleep itself takes as long.
const SHORTEST_SLEEP: Duration = Duration::from_micros(100);

/// What is told on standard error: each second, and at the end.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Pace {
    events: u64,
    seconds: f64,
    events_per_second: f64,
    /// How late an event was, against the rate: the last, and the latest.
    lag_us: u64,
    max_lag_us: u64,
    done: bool,
}

impl Pace {
    fn tell(&mut self, begin: Instant, json: bool) {
        self.seconds = begin.elapsed().as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let events = self.events as f64;
        self.events_per_second = events / self.seconds.max(1e-9);
        if json {
            eprintln!("{}", serde_json::to_string(self).unwrap_or_default());
            return;
        }
        say(&format!(
            "{} events in {:.2} s, {:.0} a second, lag {} us, at most {} us",
            grouped(self.events),
            self.seconds,
            self.events_per_second,
            self.lag_us,
            self.max_lag_us
        ));
    }
}

/// When the event after so many is due.
fn due(events: u64, rate: u64) -> Duration {
    let (seconds, rest) = (events / rate, events % rate);
    Duration::from_secs(seconds) + Duration::from_nanos(rest * 1_000_000_000 / rate)
}

pub(crate) fn run(options: &Replay, output: &mut Output) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::Usage("standard output is a terminal: events are bytes, send them somewhere".into()));
    }
    let mut events = RangeReader::open(&options.log, &options.range)?;
    let (mut pace, mut told) = (Pace::default(), 0);
    let begin = Instant::now();
    let outcome = loop {
        let event = match events.next() {
            Ok(Some(event)) => event,
            Ok(None) => break Ok(()),
            Err(failure) => break Err(failure),
        };
        if options.rate > 0 {
            let due = due(pace.events, options.rate);
            let mut now = begin.elapsed();
            if due > now + SHORTEST_SLEEP {
                output.flush()?;
                thread::sleep(due.saturating_sub(now));
                now = begin.elapsed();
            }
            pace.lag_us = u64::try_from(now.saturating_sub(due).as_micros()).unwrap_or(u64::MAX);
            pace.max_lag_us = pace.max_lag_us.max(pace.lag_us);
        }
        output.bytes(&event.to_bytes())?;
        pace.events += 1;
        // The clock is asked now and then only.
        if (options.rate > 0 || pace.events.is_multiple_of(4_096)) && begin.elapsed().as_secs() > told {
            told = begin.elapsed().as_secs();
            pace.tell(begin, output.is_json());
        }
    };
    output.flush()?;
    pace.done = outcome.is_ok();
    pace.tell(begin, output.is_json());
    // JSON and bytes would not go together on standard output.
    outcome.map_err(|failure| match failure {
        Failure::Fault(text) => Failure::FaultTold(text),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_evenly() {
        assert_eq!(due(0, 7), Duration::ZERO);
        assert_eq!(due(1_500, 1_000), Duration::from_millis(1_500));
        assert_eq!(due(u64::MAX, u64::from(u32::MAX)), Duration::from_secs(u64::from(u32::MAX) + 2));
    }
}
