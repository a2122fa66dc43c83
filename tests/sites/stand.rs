//! Where cases are played: the programs, a directory for each case, and what became of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::case::{Case, SCENARIOS, Site};
use super::random::number_from;
use super::toolchain::{self, Outcome};

/// The child ends itself before that.
const LIMIT: Duration = Duration::from_secs(60);
/// Lives that are recorded: a site that is not in each of them depends on how the threads run.
const RECORDED: u64 = 3;
/// Lives that are tried for a site that not each life comes by.
const TRIES: u32 = 12;
const PLAYERS: usize = 2;

/// The programs, and a directory for their work.
pub struct Stand {
    child: PathBuf,
    shim: PathBuf,
    directory: PathBuf,
    next: AtomicUsize,
    /// The lives are those of a file system that knows no RENAME_NOREPLACE.
    plain_rename: bool,
}

/// What a life under a fault came to.
pub struct Played {
    /// Calls that met the fault.
    pub fired: u64,
    pub live: Outcome,
    /// Of the process that looked at what a killed one left.
    pub check: Option<Outcome>,
}

impl Stand {
    /// `name` is the test's: two of them run at once.
    pub fn new(name: &str) -> Self {
        let child = toolchain::build("fault_child", &format!("fault_child-{name}"), &[]);
        let shim = toolchain::build_directory().join(format!("fault_shim-{name}.so"));
        toolchain::link("fault_shim", &shim, &["-ldl"], &["-shared", "-fPIC"]);
        // In memory: a killed process leaves the same there as on a disk, and no disk is waited for.
        let directory = toolchain::fresh_directory(&format!("sites-{name}"), true);
        Self { child, shim, directory, next: AtomicUsize::new(0), plain_rename: false }
    }

    /// The same, on a file system that knows no RENAME_NOREPLACE.
    pub fn with_plain_renames(name: &str) -> Self {
        let mut stand = Self::new(name);
        stand.plain_rename = true;
        stand
    }

    fn fresh_work(&self) -> PathBuf {
        let work = self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(&work).unwrap_or_else(|error| panic!("{}: {error}", work.display()));
        work
    }

    fn child(&self, role: &str, scenario: &str, work: &Path) -> Command {
        let mut command = Command::new(&self.child);
        command.arg(role).arg(scenario).arg(work);
        command
    }

    /// The life alone, under strace with these options.
    pub fn traced(&self, scenario: &str, work: &Path, options: &[&str], record: Option<&Path>) -> Command {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq"]).args(options);
        if let Some(record) = record {
            for (name, value) in self.shim_in_front(work) {
                strace.arg(format!("-E{name}={}", value.display()));
            }
            strace.arg(format!("-EWALREC_FAULT_RECORD={}", record.display()));
        }
        strace.arg(&self.child).arg("alone").arg(scenario).arg(work);
        strace
    }

    /// What puts the shim in front of the library.
    fn shim_in_front(&self, work: &Path) -> [(&'static str, PathBuf); 3] {
        [("LD_PRELOAD", self.shim.clone()), ("WALREC_FAULT_ROOT", work.into()), ("WALREC_FAULT_WORDS", words(work))]
    }

    /// What comes before the life; the work directory.
    pub fn set_up(&self, scenario: &str) -> PathBuf {
        let work = self.fresh_work();
        let outcome = run(&mut self.child("setup", scenario, &work), &work);
        assert!(outcome.status.success(), "{scenario}: {}\n{}", outcome.status, outcome.text);
        work
    }

    /// The life, with the shim in front of the library.
    pub fn life(&self, scenario: &str, work: &Path) -> Command {
        let mut command = self.child("live", scenario, work);
        command.envs(self.shim_in_front(work));
        if self.plain_rename {
            command.env("WALREC_FAULT_PLAIN_RENAME", "1");
        }
        command
    }

    /// Opens, reads, verifies and closes what a killed life left.
    pub fn check(&self, scenario: &str, work: &Path) -> Outcome {
        run(&mut self.child("check", scenario, work), work)
    }

    /// Plays a case once.
    pub fn play_once(&self, case: &Case) -> Played {
        self.play_with(case, |_| {})
    }

    /// Plays a case once; `meanwhile` is done after the life, before anybody looks.
    pub fn play_with(&self, case: &Case, meanwhile: impl FnOnce(&Path)) -> Played {
        let work = self.set_up(&case.site.scenario);
        let live = run(self.life(&case.site.scenario, &work).env("WALREC_FAULT", case.fault()), &work);
        meanwhile(&work);
        let check = (live.status.signal() == Some(9)).then(|| self.check(&case.site.scenario, &work));
        let played = Played { fired: fired(&work), live, check };
        let _ = fs::remove_dir_all(&work);
        played
    }

    /// A program of `tests/c` with a fault, in a directory of its own; `end` is its second argument.
    pub fn run_subject(&self, program: &Path, end: &str, fault: &str) -> Outcome {
        let work = self.fresh_work();
        let mut command = Command::new(program);
        command.arg(&work).arg(end).envs(self.shim_in_front(&work)).env("WALREC_FAULT", fault);
        let outcome = run(&mut command, &work);
        let _ = fs::remove_dir_all(&work);
        outcome
    }

    /// A program of `tests/c` that works in `work`, with no file opened for direct I/O.
    pub fn run_buffered(&self, program: &Path, work: &Path, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(program);
        command.arg(work).args(arguments).env("LD_PRELOAD", &self.shim).env("WALREC_FAULT_BUFFERED", "1");
        run(&mut command, &self.fresh_work())
    }

    /// Plays a case until its site is reached; `None` when no life came by it.
    pub fn play(&self, case: &Case) -> Option<Played> {
        (0..TRIES).map(|_| self.play_once(case)).find(|played| played.fired > 0 || !played.live.status.success())
    }

    /// Plays all cases, several at a time, and hands on what each came to, in no order.
    pub fn play_all(&self, cases: &[Case], each: impl FnMut(&Case, Option<Played>) + Send) {
        let (next, each) = (AtomicUsize::new(0), Mutex::new(each));
        std::thread::scope(|scope| {
            for _ in 0..PLAYERS {
                scope.spawn(|| {
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let played = self.play(case);
                        each.lock().unwrap_or_else(PoisonError::into_inner)(case, played);
                    }
                });
            }
        });
    }

    /// The sites of all scenarios, and in how many of the recorded lives each was; with `changing`, only calls that change something.
    pub fn sites(&self, changing: bool) -> BTreeMap<Site, u64> {
        let mut sites = BTreeMap::new();
        for scenario in SCENARIOS {
            for _ in 0..RECORDED {
                for line in self.record(scenario).lines() {
                    let words: Vec<&str> = line.split(' ').collect();
                    let &[call, name, number, ..] = &*words else { panic!("a record of the shim: {line}") };
                    if changing && words.len() < 4 && call != "openat" {
                        continue;
                    }
                    let number = number.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
                    let site = Site { scenario: scenario.into(), call: call.into(), name: name.into(), number };
                    *sites.entry(site).or_insert(0) += 1;
                }
            }
        }
        sites
    }

    /// A life without a fault; the shim's record of it.
    pub fn record(&self, scenario: &str) -> String {
        let work = self.set_up(scenario);
        let record = with_suffix(&work, "record");
        let outcome = run(self.life(scenario, &work).env("WALREC_FAULT_RECORD", &record), &work);
        assert!(outcome.status.success(), "{scenario}: {}\n{}", outcome.status, outcome.text);
        let text = fs::read_to_string(&record).unwrap_or_else(|error| panic!("{}: {error}", record.display()));
        let _ = fs::remove_dir_all(&work);
        text
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// How many cases are to be played: a number, or `all`.
pub fn sample_from(variable: &str, default: u64) -> u64 {
    if std::env::var(variable).is_ok_and(|what| what == "all") { u64::MAX } else { number_from(variable, default) }
}

/// Whether each recorded life came by a site.
pub fn is_steady(lives: u64) -> bool {
    lives == RECORDED
}

/// A file beside the work directory: no name in it is a site.
pub fn with_suffix(work: &Path, suffix: &str) -> PathBuf {
    let mut name = work.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    name.into()
}

fn words(work: &Path) -> PathBuf {
    with_suffix(work, "words")
}

fn fired(work: &Path) -> u64 {
    let mut bytes = [0; 8];
    match fs::File::open(words(work)).and_then(|file| file.read_exact_at(&mut bytes, 0)) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => 0,
    }
}

pub fn run(command: &mut Command, work: &Path) -> Outcome {
    toolchain::run_command(command, &with_suffix(work, "out"), LIMIT)
}
