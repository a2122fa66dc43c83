//! kill -9 at any instant: what an append call returned for is there after the next open, in order, with the right
//! bytes, and at most one more.
//!
//! A child (`tests/c/kill9_child.c`) opens the log, appends at full speed and reports each id in a shared file once its
//! append returned. It is killed at a random moment of opening, recovering, appending, rotating, syncing, closing or
//! replaying; sometimes the child that recovers is killed too. Then another child opens the log, reads all of it and
//! verifies it. The log goes on over many cycles: half of them keep few segments, so that retention has work all the
//! time; one directory in four lies on a tmpfs.
//!
//! WALREC_KILL9_CYCLES sets the number of cycles (default 50), WALREC_SEED the seed; both are printed. In most cycles
//! killed while appending, events that only the stage had must be found: otherwise the killer was too slow to prove
//! anything.

#[path = "c/random.rs"]
mod random;
#[path = "c/toolchain.rs"]
#[allow(dead_code, reason = "shared with c_face.rs, which uses more of it")]
mod toolchain;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use random::{Random, number_from};

/// Cycles before a new directory is taken.
const CYCLES_OF_A_LOG: u64 = 20;
/// No phase takes this long, and no child lives so long.
const LIMIT: Duration = Duration::from_secs(50);

/// The child's phases, by number.
const PHASES: [&str; 8] = ["starting", "opening", "appending", "rotating", "syncing", "closing", "replaying", "done"];
const STARTING: u64 = 0;
const OPENING: u64 = 1;
const APPENDING: u64 = 2;
const CLOSING: u64 = 5;
const REPLAYING: u64 = 6;
const DONE: u64 = 7;

/// What a kill aims at: the phase that the parent waits for, and the longest delay after it, in microseconds.
struct Target {
    name: &'static str,
    phase: u64,
    delay_us: u64,
    weight: u64,
}

const TARGETS: [Target; 6] = [
    Target { name: "opening", phase: OPENING, delay_us: 20_000, weight: 3 },
    Target { name: "appending", phase: APPENDING, delay_us: 20_000, weight: 8 },
    Target { name: "rotating", phase: APPENDING, delay_us: 30_000, weight: 3 },
    Target { name: "syncing", phase: APPENDING, delay_us: 30_000, weight: 2 },
    Target { name: "closing", phase: CLOSING, delay_us: 15_000, weight: 3 },
    Target { name: "replaying", phase: REPLAYING, delay_us: 10_000, weight: 1 },
];

/// What the parent draws.
trait Draws {
    fn target(&mut self) -> &'static Target;
    fn delay(&mut self, most_us: u64) -> Duration;
}

impl Draws for Random {
    fn target(&mut self) -> &'static Target {
        let mut at = self.below(TARGETS.iter().map(|target| target.weight).sum());
        for target in &TARGETS {
            if at < target.weight {
                return target;
            }
            at -= target.weight;
        }
        &TARGETS[1]
    }

    /// Short delays as often as long ones: the beginning of a phase is where most of its steps are.
    fn delay(&mut self, most_us: u64) -> Duration {
        let scale = self.below(4);
        Duration::from_micros(self.below(1 + (most_us >> (2 * scale))))
    }
}

/// The file that the child maps: 64-bit words, in the order of `struct control`.
struct Control {
    path: PathBuf,
    file: File,
}

/// Words of the control file.
#[derive(Clone, Copy)]
enum Word {
    Phase = 0,
    Reported = 1,
    EventsFromStage = 4,
    OpenFlags = 5,
    Last = 8,
    Wrong = 9,
    Lost = 10,
    Extra = 11,
    Failed = 12,
    Quarantined = 14,
}

impl Control {
    fn new(path: PathBuf, base: u64) -> Self {
        let fail = |error: std::io::Error| -> ! { panic!("{}: {error}", path.display()) };
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap_or_else(|error| fail(error));
        file.set_len(4096).unwrap_or_else(|error| fail(error));
        let control = Self { path, file };
        control.set(Word::Reported, base);
        control
    }

    fn get(&self, word: Word) -> u64 {
        let mut bytes = [0; 8];
        let read = self.file.read_exact_at(&mut bytes, word as u64 * 8);
        read.unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
        u64::from_le_bytes(bytes)
    }

    fn set(&self, word: Word, value: u64) {
        let written = self.file.write_all_at(&value.to_le_bytes(), word as u64 * 8);
        written.unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
    }
}

/// One log directory over its cycles.
struct Log {
    directory: PathBuf,
    control: Control,
    seed: u64,
    /// The last event before this log's first.
    base: u64,
    cycles: u64,
    /// It was not closed: the next open recovers.
    unclean: bool,
}

impl Log {
    fn new(number: u64, base: u64, seed: u64) -> Self {
        let directory = toolchain::fresh_directory(&format!("kill9-{number}"), number % 4 == 3);
        let control = Control::new(directory.join("control"), base);
        Self { directory: directory.join("log"), control, seed, base, cycles: 0, unclean: false }
    }

    fn start(&self, program: &Path, role: &str, cycle: u64, argument: &str) -> Child {
        self.control.set(Word::Phase, STARTING);
        self.control.set(Word::Failed, 0);
        Command::new(program)
            .arg(role)
            .arg(&self.directory)
            .arg(&self.control.path)
            .args([self.base.to_string(), self.seed.to_string(), cycle.to_string(), argument.to_owned()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
    }

    /// Waits until the child has reached the phase, or one after it, or has ended.
    fn wait_for(&self, child: &mut Child, phase: u64) {
        let begin = Instant::now();
        while self.control.get(Word::Phase) < phase {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "the child did not come to {} in {LIMIT:?}", PHASES[index(phase)]);
            std::thread::sleep(Duration::from_micros(30));
        }
    }

    /// Runs a child and kills it; gives the phase in which it died.
    fn run_and_kill(&mut self, program: &Path, target: &Target, delay: Duration, cycle: u64) -> u64 {
        let mut child = self.start(program, "run", cycle, target.name);
        self.wait_for(&mut child, target.phase);
        std::thread::sleep(delay);
        let _ = child.kill();
        let status = child.wait().unwrap_or_else(|error| panic!("wait for the child: {error}"));
        let phase = self.control.get(Word::Phase);
        let closed = status.success() && phase == DONE;
        assert!(status.signal() == Some(9) || closed, "the child was not killed but ended: {status}");
        assert_eq!(self.control.get(Word::Failed), 0, "the child met an error");
        match phase {
            STARTING => {}
            DONE => self.unclean = false,
            _ => self.unclean = true,
        }
        phase
    }

    /// Opens, reads and verifies in a child that is left alone.
    fn check(&mut self, program: &Path, cycle: u64, crash: bool) -> Found {
        let mut child = self.start(program, "check", cycle, if crash { "crash" } else { "close" });
        let status = child.wait().unwrap_or_else(|error| panic!("wait for the child: {error}"));
        let ended_as_told = if crash { status.signal() == Some(9) } else { status.success() };
        let done = self.control.get(Word::Phase) == DONE && self.control.get(Word::Failed) == 0;
        assert!(ended_as_told && done, "the checking child failed: {status}");
        self.unclean = crash;
        Found {
            events_from_stage: self.control.get(Word::EventsFromStage),
            flags: self.control.get(Word::OpenFlags),
            wrong: self.control.get(Word::Wrong),
            lost: self.control.get(Word::Lost),
            extra: self.control.get(Word::Extra),
        }
    }

    fn remove(self) {
        if let Some(parent) = self.directory.parent() {
            let _ = fs::remove_dir_all(parent);
        }
    }
}

/// What a check found.
#[derive(Debug)]
struct Found {
    events_from_stage: u64,
    flags: u64,
    wrong: u64,
    lost: u64,
    extra: u64,
}

fn index(phase: u64) -> usize {
    usize::try_from(phase).map_or(0, |at| at.min(PHASES.len() - 1))
}

/// What the kills met, and what they left.
#[derive(Default)]
struct Counts {
    /// By phase at death; opening a log that was not closed is counted apart.
    phases: [u64; PHASES.len()],
    recovering: u64,
    preparing: u64,
    freezing: u64,
    deleting: u64,
    killed_appending: u64,
    only_in_stage: u64,
    events_from_stage: u64,
    wrong: u64,
    lost: u64,
    extra: u64,
    quarantined: u64,
}

impl Counts {
    fn killed(&mut self, phase: u64, was_unclean: bool, directory: &Path) {
        if phase == OPENING && was_unclean {
            self.recovering += 1;
        } else {
            self.phases[index(phase)] += 1;
        }
        // What the workers were at shows in the names they left.
        let names = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
        let names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let left = |suffix: &str| u64::from(names.iter().any(|name| name.ends_with(suffix)));
        self.preparing += left(".new");
        self.freezing += left(".lz4.tmp");
        self.deleting += left(".del");
    }

    fn table(&self) -> String {
        let mut text = String::new();
        for (name, count) in PHASES.iter().zip(self.phases) {
            if *name != "starting" && *name != "done" {
                let _ = write!(text, "{name} {count}, ");
            }
        }
        let _ = write!(
            text,
            "recovering {}, before opening {}, after closing {}; killed while a worker prepared {}, froze {}, deleted {}",
            self.recovering,
            self.phases[0],
            self.phases[index(DONE)],
            self.preparing,
            self.freezing,
            self.deleting
        );
        text
    }
}

#[test]
fn killed_at_any_instant() {
    let cycles = number_from("WALREC_KILL9_CYCLES", 50);
    let seed = number_from("WALREC_SEED", 20_240_229);
    let program = toolchain::build("kill9_child", "kill9_child", &[]);
    let mut random = Random(seed);
    let mut counts = Counts::default();
    let (mut logs, mut events) = (0, 0);
    let mut current: Option<Log> = None;
    let begin = Instant::now();

    for cycle in 0..cycles {
        let mut log = current.take().unwrap_or_else(|| {
            logs += 1;
            Log::new(logs - 1, events, random.next())
        });
        log.cycles += 1;
        let target = random.target();
        let delay = random.delay(target.delay_us);
        let last_cycle = log.cycles == CYCLES_OF_A_LOG || cycle + 1 == cycles;

        let was_unclean = log.unclean;
        let mut story = format!("seed {seed}, cycle {cycle}: {} killed after {delay:?}", target.name);
        let phase = log.run_and_kill(&program, target, delay, cycle);
        let _ = write!(story, " while {}", PHASES[index(phase)]);
        counts.killed(phase, was_unclean, &log.directory);

        // Recovery killed, and killed again: it must not matter.
        let mut kills_of_recovery = 0;
        while random.below(4) == 0 {
            let delay = random.delay(TARGETS[0].delay_us);
            let was_unclean = log.unclean;
            let phase = log.run_and_kill(&program, &TARGETS[0], delay, cycle);
            let _ = write!(story, ", the next after {delay:?} while {}", PHASES[index(phase)]);
            counts.killed(phase, was_unclean, &log.directory);
            kills_of_recovery += 1;
        }

        let found = log.check(&program, cycle, !last_cycle && random.below(3) == 0);
        if phase == APPENDING && target.name == "appending" && kills_of_recovery == 0 {
            counts.killed_appending += 1;
            counts.only_in_stage += u64::from(found.events_from_stage > 0);
        }
        counts.events_from_stage += found.events_from_stage;
        counts.wrong += found.wrong;
        counts.lost += found.lost;
        counts.extra += found.extra;
        let place = log.directory.display();
        let good = found.wrong == 0 && found.lost == 0 && found.extra == 0;
        assert!(good, "{story}: {found:?} in {place}");
        // Stage missing, set aside, salvaged: nothing took the stage away, and nothing was damaged.
        assert_eq!(found.flags & (1 | 4 | 16), 0, "{story}: {found:?} in {place}");

        events = log.control.get(Word::Last);
        if last_cycle {
            counts.quarantined += log.control.get(Word::Quarantined);
            log.remove();
        } else {
            current = Some(log);
        }
    }

    toolchain::announce(&format!(
        "FIGURE kill -9: seed {seed}, {cycles} cycles in {logs} logs, {events} events, {} s: {} lost, {} wrong, {} more than one \
         unreported; {} files quarantined",
        begin.elapsed().as_secs(),
        counts.lost,
        counts.wrong,
        counts.extra,
        counts.quarantined
    ));
    toolchain::announce(&format!("FIGURE kill -9: killed while {}", counts.table()));
    toolchain::announce(&format!(
        "FIGURE kill -9: events that only the stage had in {} of {} cycles killed while appending, {} events in all",
        counts.only_in_stage, counts.killed_appending, counts.events_from_stage
    ));
    if counts.killed_appending >= 5 {
        assert!(
            counts.only_in_stage > 0,
            "the killer was too slow to prove anything: the disk had everything in all of {} cycles",
            counts.killed_appending
        );
    }
}

/// The verifier catches a lost event, a wrong byte, and every other thing it is for.
#[test]
fn verifier_catches_what_it_is_for() {
    let program = toolchain::build("kill9_child", "kill9_child-selftest", &[]);
    toolchain::announce(toolchain::run_tool(Command::new(program).arg("selftest"), "").trim_end());
}

/// The whole loop catches a loss: with the stage taken away after the kill, the events that only it had are gone, and the check
/// says so.
#[test]
fn a_lost_stage_is_caught() {
    let program = toolchain::build("kill9_child", "kill9_child-loss", &[]);
    let mut lost = 0;
    for attempt in 0..10_u64 {
        let mut log = Log::new(1000 + 4 * attempt, 0, 3);
        log.run_and_kill(&program, &TARGETS[1], Duration::from_millis(5), attempt);
        let line = fs::read_to_string(log.directory.join("walrec.stage")).unwrap_or_default();
        let stage = line.find('/').map_or("", |at| line[at..].trim_end());
        assert!(stage.contains("walrec"), "no stage path in walrec.stage: {line:?}");
        fs::remove_dir_all(stage).unwrap_or_else(|error| panic!("{stage}: {error}"));
        let found = log.check(&program, attempt, false);
        assert_eq!(found.flags & 1, 1, "the missing stage is not reported: {found:?}");
        assert_eq!(found.wrong, 0, "{found:?}");
        log.remove();
        lost = found.lost;
        if lost > 0 {
            break;
        }
    }
    assert!(lost > 0, "ten logs whose stage was taken away lost nothing: the check cannot catch a loss");
    toolchain::announce(&format!("FIGURE kill -9, control: {lost} events lost with the stage taken away, and caught"));
}
