//! A random session of a recorder on a simulated machine, and what every crash state of it must recover to.

mod figures;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use walrec::format::{Event, SegmentName, SegmentNameKind};
use walrec::recorder::{self, Config, FullPolicy, Manager, OpenFlags, OpenReport, SegmentWriter, WorkerKind};
use walrec::storage::simulated::{CrashOptions, Sectors, SimulatedSystem, Snapshot};

pub use figures::Figures;

const LOG: &str = "/log";
/// Crash states played from one cut.
const STATES_PER_CUT: u64 = 24;
/// Cuts of one session.
const CUTS_PER_SESSION: u64 = 8;

/// One crash state: which session, cut at which operation, played out how.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub session: u64,
    pub cut: u64,
    pub state: u64,
}

impl Case {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':').map(|part| part.parse().ok());
        Some(Self { session: parts.next()??, cut: parts.next()??, state: parts.next()?? })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "WALREC_POWER_CASE={}:{}:{}", self.session, self.cut, self.state)
    }
}

/// splitmix64
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::try_from(self.below(values.len() as u64)).unwrap()]
    }
}

/// What must be in the log.
#[derive(Clone, Default)]
struct Model {
    events: Vec<Event>,
    /// Segment and end offset of each event.
    places: Vec<(u32, u32)>,
    durable: u64,
    generation: u64,
}

impl Model {
    fn last(&self) -> u64 {
        self.events.last().map_or(0, |event| event.event_id)
    }

    fn next_event(&mut self, random: &mut Random) -> Event {
        let event_id = self.last() + 1 + random.below(3);
        let word = Random::new(event_id ^ self.generation << 40).next();
        let [kind, order_type, side, ..] = word.to_le_bytes();
        Event {
            event_id,
            timestamp_ns: word,
            price: i64::from_le_bytes(word.to_le_bytes()),
            quantity: 7,
            user_id: 3,
            order_id: 9,
            kind,
            order_type,
            side,
            user_bytes: [kind; 17],
            guard: u32::MAX,
        }
    }

    fn durable_place(&self) -> (u32, u32) {
        let durable = self.events.partition_point(|event| event.event_id <= self.durable);
        durable.checked_sub(1).map_or((0, 64), |last| self.places[last])
    }

    /// The first event that the limits keep: that of the oldest of the newest segments, as many as they count.
    fn first_kept(&self, config: &Config) -> u64 {
        let mut left = u64::from(config.max_segments) + u64::from(config.max_compressed_segments);
        let mut first = self.last();
        let mut segment = None;
        for (event, place) in self.events.iter().zip(&self.places).rev() {
            if segment != Some(place.0) {
                segment = Some(place.0);
                left = match left.checked_sub(1) {
                    Some(left) => left,
                    None => break,
                };
            }
            first = event.event_id;
        }
        first
    }

    /// The crash took what is above `last`; what comes now differs from it.
    fn cut_to(&mut self, last: u64) {
        let kept = self.events.partition_point(|event| event.event_id <= last);
        self.events.truncate(kept);
        self.places.truncate(kept);
        self.generation += 1;
        self.durable = last;
    }
}

fn config(session: u64) -> Config {
    let mut random = Random::new(session ^ 0xc0);
    Config {
        num_blocks: random.pick(&[16, 16, 17, 20]),
        stage_slots: random.pick(&[3, 4, 5]),
        flush_interval_us: 0,
        full_policy: FullPolicy::Fail,
        max_segments: random.pick(&[2, 2, 3, u32::MAX]),
        max_compressed_segments: random.pick(&[1, 2, 3, u32::MAX]),
        no_compress: random.below(8) == 0,
        ..Config::default()
    }
}

/// A session under way.
struct Session {
    system: SimulatedSystem,
    config: Config,
    random: Random,
    model: Model,
    recorder: Option<(SegmentWriter, Manager)>,
    opening: bool,
}

impl Session {
    fn new(session: u64) -> Self {
        let system = SimulatedSystem::new(session);
        Self {
            system,
            config: config(session),
            random: Random::new(session),
            model: Model::default(),
            recorder: None,
            opening: false,
        }
    }

    /// Runs until the script ends or the machine is off; `false` when it went off.
    fn run(&mut self) -> bool {
        let steps = 40 + self.random.below(120);
        for _ in 0..steps {
            self.step();
            if self.system.is_off() {
                return false;
            }
        }
        true
    }

    fn step(&mut self) {
        let Some((writer, manager)) = &mut self.recorder else { return self.open() };
        match self.random.below(100) {
            0..30 => {
                let count = self.random.pick(&[1, 3, 40, 200, 256, 300, 1_000]);
                for _ in 0..count {
                    let event = self.model.next_event(&mut self.random);
                    if writer.append(&event).is_err() {
                        break;
                    }
                    let position = manager.meta_state().unwrap();
                    assert_eq!(position.last_event_id, event.event_id);
                    self.model.events.push(event);
                    self.model.places.push((position.segment_index, position.offset));
                }
                // Small segments, where few are kept: there is something to freeze and to delete.
                if self.config.max_segments < 4 && self.random.below(2) == 0 {
                    let _ = writer.rotate();
                }
            }
            30..62 => drop(manager.step(WorkerKind::Flusher)),
            62..80 => drop(manager.step(WorkerKind::Preparer)),
            80..89 => {
                for _ in 0..self.random.below(5) {
                    drop(manager.step(WorkerKind::Maintainer));
                }
            }
            89..94 => drop(manager.step(WorkerKind::Meta)),
            94..97 => drop(writer.rotate()),
            97..98 => {
                // Not a clean end when the machine goes off under it: then everything durable before must still be there.
                let closed = manager.shutdown();
                self.note_durable();
                self.recorder = None;
                assert!(closed.is_ok() || self.system.is_off(), "{closed:?}");
            }
            98 => kill(&self.system, self.recorder.take()),
            _ => {}
        }
        self.note_durable();
    }

    fn note_durable(&mut self) {
        if let Some((_, manager)) = &self.recorder {
            self.model.durable = self.model.durable.max(manager.durable_event_id());
        }
    }

    fn open(&mut self) {
        self.opening = true;
        match open(&self.system, &self.config) {
            Ok(recorder) => {
                assert_eq!(recorder.1.report().last_event_id, self.model.last(), "a killed process loses nothing");
                self.recorder = Some(recorder);
                self.note_durable();
                self.opening = false;
            }
            Err(error) => assert!(self.system.is_off(), "open: {error}"),
        }
    }
}

/// Ends a recorder as SIGKILL does: nothing it still tries has any effect. Snapshots must be taken before.
fn kill(system: &SimulatedSystem, recorder: Option<(SegmentWriter, Manager)>) {
    system.crash_process();
    drop(recorder);
}

fn open(system: &SimulatedSystem, config: &Config) -> Result<(SegmentWriter, Manager), recorder::Error> {
    recorder::open_stepped(Arc::new(system.clone()), Path::new(LOG), config)
}

/// A session run to its cut: the machine at that moment, and what must be in the log.
struct Cut {
    snapshot: Snapshot,
    model: Model,
    config: Config,
    opening: bool,
}

fn run_to(session: u64, cut: u64) -> Cut {
    let mut run = Session::new(session);
    run.system.set_crash_at(cut);
    let ended = run.run();
    let snapshot = run.system.snapshot();
    if !ended {
        run.note_durable();
    }
    let opening = run.opening;
    kill(&run.system, run.recorder.take());
    Cut { snapshot, model: run.model, config: run.config, opening }
}

fn operations_of(session: u64) -> u64 {
    let mut run = Session::new(session);
    assert!(run.run());
    let operations = run.system.operations();
    kill(&run.system, run.recorder.take());
    operations
}

/// Sessions `thread`, `thread + threads`, ... until this thread's share of `states` is done.
pub fn campaign(seed: u64, thread: u64, threads: u64, states: u64) -> Figures {
    let mut figures = Figures::default();
    let mut number = thread;
    while figures.states < states.div_ceil(threads) {
        let session = Random::new(seed ^ number).next() >> 16;
        let operations = operations_of(session);
        let mut random = Random::new(session ^ 0xc07);
        for _ in 0..CUTS_PER_SESSION {
            let cut = random.below(operations + 1);
            let reached = run_to(session, cut);
            for state in 0..STATES_PER_CUT {
                play_from(&reached, &Case { session, cut, state }, &mut figures);
            }
        }
        number += threads;
    }
    figures
}

/// Plays one case alone.
pub fn play(case: &Case, figures: &mut Figures) {
    play_from(&run_to(case.session, case.cut), case, figures);
}

/// Plays a case against a model that calls every append durable at once: what a sync that lies would promise.
pub fn play_lying(case: &Case) {
    let mut cut = run_to(case.session, case.cut);
    cut.model.durable = cut.model.last();
    let options = CrashOptions { sectors: Some(Sectors::Nothing), ..CrashOptions::default() };
    let system = cut.snapshot.power_cut(case.state, &options);
    check(&system, &cut.config, &cut.model, &mut Random::new(case.state), &mut Figures::default());
}

fn play_from(cut: &Cut, case: &Case, figures: &mut Figures) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut random = Random::new(case.session ^ case.cut << 20 ^ case.state << 50);
        figures.states += 1;
        figures.in_open += u64::from(cut.opening);
        let mut model = cut.model.clone();
        let killed = case.state % 12 == 11;
        let system = if killed {
            // The process alone died: everything that was appended is durable in the sense that counts.
            model.durable = model.last();
            figures.processes_killed += 1;
            cut.snapshot.process_crash()
        } else {
            cut.snapshot.power_cut(random.next(), &options(&model))
        };
        let system =
            if random.below(3) == 0 { cut_recovery(system, cut, &model, &mut random, killed, figures) } else { system };
        check(&system, &cut.config, &model, &mut random, figures);
    }));
    if let Err(panic) = outcome {
        println!("failing state: {case}");
        std::panic::resume_unwind(panic);
    }
}

/// Sectors above the watermark may come out as anything.
fn options(model: &Model) -> CrashOptions {
    let (segment, offset) = model.durable_place();
    let may_trash = move |path: &str, at: u64| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let above = |index: u32| at > 0 && (index > segment || (index == segment && at >= u64::from(offset)));
        SegmentName::parse(name.as_bytes())
            .is_some_and(|name| above(name.index) || name.kind == SegmentNameKind::Freezing)
    };
    CrashOptions { trash: Some(Box::new(may_trash)), ..CrashOptions::default() }
}

/// Cuts the recovery itself short, by power or by a kill, and gives the machine after that.
fn cut_recovery(
    system: SimulatedSystem,
    cut: &Cut,
    model: &Model,
    random: &mut Random,
    killed: bool,
    figures: &mut Figures,
) -> SimulatedSystem {
    system.set_crash_at(system.operations() + random.below(30));
    let recorder = open(&system, &cut.config);
    if !system.is_off() {
        // It was through before: what it reported is durable.
        let recovered = recorder.as_ref().expect("open on a machine that is on").1.report().last_event_id;
        let after = system.snapshot();
        kill(&system, recorder.ok());
        assert!(recovered >= model.durable);
        return after.process_crash();
    }
    figures.recoveries_cut += 1;
    let after = system.snapshot();
    kill(&system, recorder.ok());
    if killed { after.process_crash() } else { after.power_cut(random.next(), &options(model)) }
}

/// The log on `system` must hold a prefix of the model, at least up to the watermark; and go on from there.
fn check(system: &SimulatedSystem, config: &Config, model: &Model, random: &mut Random, figures: &mut Figures) {
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

    // Recovering again, after a cut that keeps only what is durable, gives the same: the open had made all of it durable.
    let again = system.snapshot();
    kill(system, Some((writer, manager)));
    let options = CrashOptions { sectors: Some(Sectors::Nothing), ..CrashOptions::default() };
    let system = if random.below(2) == 0 { again.power_cut(random.next(), &options) } else { again.process_crash() };
    let (writer, manager) = open(&system, config).unwrap_or_else(|error| panic!("second open: {error}"));
    same_again(&report, manager.report());
    if random.below(4) == 0 {
        figures.went_on += 1;
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
