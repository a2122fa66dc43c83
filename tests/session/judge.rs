//! What a machine after a crash must hold, and that it can be gone on from.

use std::path::Path;
use std::sync::Arc;

use walrec::format::Event;
use walrec::recorder::{Config, Manager, OpenFlags, OpenReport, SegmentWriter, WorkerKind};
use walrec::storage::simulated::{CrashOptions, Sectors, SimulatedSystem};

use super::{Figures, LOG, Model, Random, kill, open};

/// The log on `system` must hold a prefix of the model, at least up to the watermark; and go on from there.
pub(super) fn check(
    system: &SimulatedSystem,
    config: &Config,
    model: &Model,
    random: &mut Random,
    figures: &mut Figures,
) {
    figures.look_at(system);
    let (writer, manager) = open(system, config).unwrap_or_else(|error| panic!("open: {error}"));
    let report = manager.report().clone();
    let last = report.last_event_id;
    assert!(last >= model.durable, "lost: recovered {last}, durable {}", model.durable);
    assert!(last <= model.last(), "invented: recovered {last}, appended {}", model.last());
    figures.above_durable += u64::from(last > model.durable);
    figures.below_appended += u64::from(last < model.last());
    figures.cut_tails += u64::from(report.flags & OpenFlags::CUT != 0);
    figures.from_stage += report.events_from_stage;
    let mut expected = model.clone();
    expected.cut_to(last);
    assert_eq!(expected.last(), last, "recovered {last} was never appended");
    let first = compare(system, &expected, expected.first_kept(config));
    assert_eq!(report.first_event_id, first);
    figures.retired += u64::from(first > expected.events.first().map_or(0, |event| event.event_id));
    assert_eq!(manager.durable_event_id(), last);

    // Recovering again, elsewhere for its stage or not, after a cut that keeps only what is durable, gives the same: the open had made all of it durable.
    let again = system.snapshot();
    kill(system, Some((writer, manager)));
    let options = CrashOptions { sectors: Some(Sectors::Nothing), ..CrashOptions::default() };
    let system = if random.below(2) == 0 { again.power_cut(random.next(), &options) } else { again.process_crash() };
    let (writer, manager) = open(&system, config).unwrap_or_else(|error| panic!("second open: {error}"));
    same_again(&report, manager.report());
    if random.below(4) == 0 {
        figures.went_on += 1;
        system.set_space_limit(None);
        go_on(&system, config, writer, manager, expected, random);
    } else {
        kill(&system, Some((writer, manager)));
    }
}

fn same_again(first: &OpenReport, second: &OpenReport) {
    assert_eq!(
        (first.first_event_id, first.last_event_id),
        (second.first_event_id, second.last_event_id),
        "recovering twice is not recovering once"
    );
    assert_eq!(second.flags & OpenFlags::CUT, 0, "the cut is done once");
}

/// Writes on, closes, and reads all of it.
fn go_on(
    system: &SimulatedSystem,
    config: &Config,
    mut writer: SegmentWriter,
    manager: Manager,
    mut model: Model,
    random: &mut Random,
) {
    for _ in 0..random.below(700) {
        let event = model.next_event(random);
        if writer.append(&event).is_err() {
            manager.step(WorkerKind::Flusher).unwrap();
            manager.step(WorkerKind::Maintainer).unwrap();
            manager.step(WorkerKind::Preparer).unwrap();
            continue;
        }
        model.events.push(event);
        let position = manager.meta_state().unwrap();
        model.places.push((position.segment_index, position.offset));
    }
    manager.shutdown().unwrap();
    drop((writer, manager));
    compare(system, &model, model.first_kept(config));
}

/// The log must hold the model's events from the first one of some segment on, which is not above `kept`. Gives its id, 0 for none.
fn compare(system: &SimulatedSystem, model: &Model, kept: u64) -> u64 {
    let mut reader = walrec::recovery::Manager::open_on(Arc::new(system.clone()), Path::new(LOG), 0).expect("reader");
    let first = reader.next().unwrap_or_else(|error| panic!("read the first: {error}"));
    let first = first.map_or(0, |event| event.event_id);
    let begin = model.events.partition_point(|event| event.event_id < first);
    assert!(first <= kept, "the log begins at {first}, from {kept} on it must be there");
    assert!(first > 0 || model.events.is_empty(), "nothing is there");
    let cut_segment = begin > 0 && model.places[begin - 1].0 == model.places[begin].0;
    assert!(!cut_segment, "the log begins at {first}, within a segment");
    reader.seek(0).unwrap_or_else(|error| panic!("seek: {error}"));
    for expected in &model.events[begin..] {
        let event = reader.next().unwrap_or_else(|error| panic!("read before {}: {error}", expected.event_id));
        let event = event.unwrap_or_else(|| panic!("the log ends before {}", expected.event_id));
        assert_eq!(Event { guard: 0, ..event }, Event { guard: 0, ..*expected });
    }
    let more = reader.next().unwrap_or_else(|error| panic!("read at the end: {error}"));
    assert_eq!(more, None, "more than was recovered");
    first
}
