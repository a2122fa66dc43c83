//! A random session of a recorder on a simulated machine, and what every crash state of it must recover to.

mod figures;
mod judge;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use walrec::format::{Event, SegmentName, SegmentNameKind};
use walrec::recorder::{self, AppendError, Config, FullPolicy, Manager, SegmentWriter, WorkerKind};
use walrec::storage::simulated::{CrashOptions, OperationKind, Repeat, Sectors, SimulatedSystem, Snapshot};

pub use figures::Figures;
use judge::check;

const LOG: &str = "/log";
/// Where stages lie: at the default place, or at one of these.
const STAGE_DIRS: [Option<&str>; 4] = [None, None, Some("/stages"), Some("/dev/shm")];
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

/// What an engine may change from one opening to the next; the limits stay, since they say what must be there.
fn reconfigure(config: &mut Config, random: &mut Random) {
    config.num_blocks = random.pick(&[config.num_blocks, config.num_blocks, 16, 20, 33]);
    config.stage_slots = random.pick(&[3, 4, 5]);
    config.stage_dir = random.pick(&STAGE_DIRS).map(Into::into);
}

/// What is done to a session.
#[derive(Clone, Copy)]
struct Harm {
    /// Calls may fail, and space may run out.
    wanted: bool,
    /// A fault was asked for, and may still have to strike.
    pending: bool,
    /// The disk's space has an end.
    limited: bool,
}

/// A session under way.
struct Session {
    system: SimulatedSystem,
    config: Config,
    random: Random,
    model: Model,
    recorder: Option<(SegmentWriter, Manager)>,
    opening: bool,
    harm: Harm,
}

impl Session {
    fn new(session: u64) -> Self {
        let system = SimulatedSystem::new(session);
        system.mount_memory("/stages");
        let mut random = Random::new(session);
        let harm = Harm { wanted: random.below(3) == 0, pending: false, limited: false };
        Self { system, config: config(session), random, model: Model::default(), recorder: None, opening: false, harm }
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
            30..61 => drop(manager.step(WorkerKind::Flusher)),
            61..79 => drop(manager.step(WorkerKind::Preparer)),
            79..88 => {
                for _ in 0..self.random.below(5) {
                    drop(manager.step(WorkerKind::Maintainer));
                }
            }
            88..92 => drop(manager.step(WorkerKind::Meta)),
            92..95 => drop(writer.rotate()),
            95..96 => drop(manager.set_retention_floor(self.random.below(self.model.last() + 2))),
            96..97 => self.end(),
            97..98 => kill(&self.system, self.recorder.take()),
            _ if self.harm.wanted => self.do_harm(),
            _ => {}
        }
        self.note_durable();
        // A poisoned recorder is good for nothing else.
        if self.recorder.as_mut().is_some_and(|(writer, _)| writer.rotate() == Err(AppendError::Failed)) {
            assert!(self.harm.pending || self.system.is_off(), "poisoned, and nothing had failed");
            if self.random.below(2) == 0 { self.end() } else { kill(&self.system, self.recorder.take()) }
        }
    }

    /// A close. Not a clean one when the machine goes off under it, or something fails: then everything durable must still be there.
    fn end(&mut self) {
        let Some((writer, manager)) = self.recorder.take() else { return };
        let closed = manager.shutdown();
        self.model.durable = self.model.durable.max(manager.durable_event_id());
        assert!(closed.is_ok() || self.system.is_off() || self.harm.pending, "{closed:?}");
        drop((writer, manager));
    }

    /// A call that will fail once, or a disk without space, or with space again.
    fn do_harm(&mut self) {
        self.harm.pending = true;
        let kind = self.random.pick(&[
            OperationKind::Write,
            OperationKind::SyncData,
            OperationKind::SyncData,
            OperationKind::SyncDirectory,
            OperationKind::Rename,
            OperationKind::Create,
            OperationKind::Remove,
            OperationKind::Allocate,
            OperationKind::SetLen,
            OperationKind::Read,
        ]);
        match self.random.below(4) {
            0 => {
                let limit = self.random.pick(&[None, Some(0), Some(2 << 20)]);
                self.harm.limited = limit.is_some();
                self.system.set_space_limit(limit);
            }
            1 => self.system.shorten_write(1 + self.random.below(8), 512, Repeat::Once),
            _ => {
                let errno = self.random.pick(&[libc::EIO, libc::EIO, libc::ENOSPC, libc::EDQUOT]);
                self.system.fail_next(kind, 1 + self.random.below(8), errno, Repeat::Once);
            }
        }
    }

    fn note_durable(&mut self) {
        if let Some((_, manager)) = &self.recorder {
            self.model.durable = self.model.durable.max(manager.durable_event_id());
        }
    }

    fn open(&mut self) {
        self.opening = true;
        if self.random.below(3) == 0 {
            reconfigure(&mut self.config, &mut self.random);
        }
        match open(&self.system, &self.config) {
            Ok(recorder) => {
                assert_eq!(recorder.1.report().last_event_id, self.model.last(), "a killed process loses nothing");
                self.recorder = Some(recorder);
                self.note_durable();
                self.opening = false;
            }
            Err(error) => assert!(self.system.is_off() || self.harm.pending, "open: {error}"),
        }
        // The next one meets no fault of before.
        if !self.system.is_off() && (self.recorder.is_none() || self.random.below(2) == 0) {
            self.system.clear_faults();
            self.system.set_space_limit(None);
            (self.harm.pending, self.harm.limited) = (false, false);
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
    harm: Harm,
}

fn run_to(session: u64, cut: u64) -> Cut {
    let mut run = Session::new(session);
    run.system.set_crash_at(cut);
    let ended = run.run();
    let snapshot = run.system.snapshot();
    if !ended {
        run.note_durable();
    }
    kill(&run.system, run.recorder.take());
    let Session { model, config, opening, harm, .. } = run;
    Cut { snapshot, model, config, opening, harm }
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
        figures.faulty += u64::from(cut.harm.pending);
        let mut model = cut.model.clone();
        let mut config = cut.config.clone();
        let killed = matches!(case.state % 12, 10 | 11);
        let mut system = if killed {
            figures.processes_killed += 1;
            cut.snapshot.process_crash()
        } else {
            cut.snapshot.power_cut(random.next(), &options(&model))
        };
        if case.state % 12 == 10 {
            figures.stages_gone += u64::from(system.list("/dev/shm").is_some_and(|names| !names.is_empty()));
            system.empty_memory();
        } else if killed {
            // The process alone died: everything that was appended is durable in the sense that counts.
            model.durable = model.last();
        }
        system.clear_faults();
        // A disk that is full stays so, half of the time: recovery needs no space.
        if cut.harm.limited && random.below(2) == 0 {
            figures.full += 1;
        } else {
            system.set_space_limit(None);
        }
        if random.below(4) == 0 {
            reconfigure(&mut config, &mut random);
        }
        // Recovery cut short, and the recovery from that, and again.
        for _ in 0..4 {
            if random.below(3) != 0 {
                break;
            }
            system = cut_recovery(system, &config, &model, &mut random, killed, figures);
        }
        check(&system, &config, &model, &mut random, figures);
    }));
    if let Err(panic) = outcome {
        println!("failing state: {case}");
        keep_case(case, &*panic);
        std::panic::resume_unwind(panic);
    }
}

/// Writes a failing state where it can be found again, with the command that plays it.
fn keep_case(case: &Case, panic: &(dyn std::any::Any + Send)) {
    let text = panic.downcast_ref::<String>().map_or("", String::as_str);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("failing-power-states");
    let file = directory.join(format!("{}-{}-{}.txt", case.session, case.cut, case.state));
    let kept = std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(&file, format!("{case} cargo test --test power_cut -- --nocapture\n{text}\n")));
    println!("kept: {}: {kept:?}", file.display());
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
    config: &Config,
    model: &Model,
    random: &mut Random,
    killed: bool,
    figures: &mut Figures,
) -> SimulatedSystem {
    let most = random.pick(&[8, 30, 90]);
    system.set_crash_at(system.operations() + random.below(most));
    let recorder = open(&system, config);
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
