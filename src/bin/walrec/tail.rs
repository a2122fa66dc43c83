//! `walrec tail`: the last events, and with `-f` those that become durable from now on.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use walrec::format::Event;
use walrec::recovery::Manager;

use crate::arguments::Tail;
use crate::event_text::EventPrinter;
use crate::failure::Failure;
use crate::listing;
use crate::output::Output;

/// How long a follower sleeps when there is nothing new.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn run(options: &Tail, output: &mut Output) -> Result<(), Failure> {
    let wanted = usize::try_from(options.lines).unwrap_or(usize::MAX);
    let mut reader = Manager::open(&options.log.directory, 0)?;
    // Ids may have gaps, so this only skips what is surely too old: whole segments.
    if let Some(id) = listing::first_id_of_tail(&options.log.directory, u64::from(options.lines))? {
        reader.seek(id)?;
    }
    let mut last: VecDeque<Event> = VecDeque::new();
    let mut fault = None;
    loop {
        match reader.next() {
            Ok(Some(event)) => {
                last.push_back(event);
                if last.len() > wanted {
                    last.pop_front();
                }
            }
            Ok(None) => break,
            Err(error) => {
                fault = Some(Failure::from(error));
                break;
            }
        }
    }
    let mut printer = EventPrinter::new(options.format, output);
    for event in &last {
        printer.print(event, output)?;
    }
    output.flush()?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    if !options.follow {
        return Ok(());
    }
    loop {
        match reader.next()? {
            Some(event) => printer.print(&event, output)?,
            None => {
                output.flush()?;
                thread::sleep(PAUSE);
            }
        }
    }
}
