//! The rounds: starts a child for each part, and collects its figures.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::kill;
use crate::peer::{Outcome, Row};
use crate::report;

/// Figures of one peer: by name, one a round; NaN where it failed.
pub type Figures = BTreeMap<String, Vec<f64>>;

/// A peer and what is known of it.
pub struct Measured {
    /// The peer.
    pub row: Row,
    /// Both tables' figures.
    pub figures: Figures,
    /// What is left after kill -9, one entry for each kill.
    pub kills: Vec<kill::Left>,
    /// Why it, or a part of it, has no figures.
    pub failures: Vec<String>,
}

/// How long everything takes.
pub struct Extent {
    /// Of both tables.
    pub rounds: usize,
    /// Of each peer that can be read again.
    pub kills: usize,
    /// Of each part of a child's work.
    pub limit: Duration,
}

impl Extent {
    fn chosen() -> Outcome<Self> {
        let quick = std::env::var_os("QUICK").is_some_and(|value| value != "0" && !value.is_empty());
        let (rounds, kills, ms) = if quick { (1, 2, 150) } else { (5, 10, 500) };
        let rounds = match std::env::var("ROUNDS") {
            Ok(text) if !text.is_empty() => text.parse().map_err(|_| "ROUNDS must be a number")?,
            _ => rounds,
        };
        Ok(Self { rounds, kills, limit: Duration::from_millis(ms) })
    }
}

/// All of it. `result` receives the figures as JSON.
pub fn run(rows: Vec<Row>, directory: &Path, result: &Path) -> Outcome<()> {
    let begin = Instant::now();
    let extent = Extent::chosen()?;
    let mut all = chosen(rows)?;
    fs::create_dir_all(directory)?;
    let place = directory.canonicalize()?.join(format!("walrec-peers-{}", std::process::id()));
    fs::create_dir_all(&place)?;
    let machine = crate::machine::lines(&place);
    report::print_head(&machine, &extent, &all);
    for round in 0..extent.rounds {
        // There and back, so that no peer always follows the same one.
        let turn = |at: usize| if round % 2 == 0 { at } else { all.len() - 1 - at };
        let order: Vec<usize> = (0..all.len()).map(turn).collect();
        for at in order {
            measure(&mut all[at], &place, round, extent.limit);
        }
        eprintln!("round {} of {}: {} s", round + 1, extent.rounds, begin.elapsed().as_secs());
    }
    for measured in &mut all {
        kill::examine(measured, &place, extent.kills);
    }
    fs::remove_dir_all(&place)?;
    report::print(&all, begin.elapsed());
    fs::write(result, report::json(&all, &machine))?;
    println!("\nwritten: {}", result.display());
    let walrec = &all[0];
    if walrec.failures.is_empty() && kill::holds(walrec.row.survives, &walrec.kills) {
        return Ok(());
    }
    Err("walrec itself failed, or does not survive kill -9: see above".into())
}

fn chosen(rows: Vec<Row>) -> Outcome<Vec<Measured>> {
    let wanted = std::env::var("PEERS").unwrap_or_default().to_lowercase();
    let wanted: Vec<&str> = wanted.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let is_named = |row: &Row, name: &str| row.name.to_lowercase() == name;
    if let Some(unknown) = wanted.iter().find(|name| !rows.iter().any(|row| is_named(row, name))) {
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        return Err(format!("PEERS: no peer is called {unknown}; there are {}", names.join(", ")).into());
    }
    let first = rows[0].name;
    let is_wanted = |row: &Row| wanted.is_empty() || row.name == first || wanted.iter().any(|name| is_named(row, name));
    let measured = |row: Row| {
        let failures = row.act.err().map(str::to_owned).into_iter().collect();
        Measured { row, figures: Figures::new(), kills: Vec::new(), failures }
    };
    Ok(rows.into_iter().filter(is_wanted).map(measured).collect())
}

fn measure(measured: &mut Measured, place: &Path, round: usize, limit: Duration) {
    let acts = if measured.row.syncs { &["accept", "sync"][..] } else { &["accept"][..] };
    if measured.row.act.is_err() {
        return;
    }
    for act in acts {
        let dir = fresh(place, "log");
        let ms = limit.as_millis().to_string();
        match figures_of(measured.row.name, &[act.as_ref(), dir.as_os_str(), ms.as_ref()]) {
            Ok(figures) => {
                for (name, value) in figures {
                    let rounds = measured.figures.entry(name).or_default();
                    // Rounds that failed are no numbers, so that those that did not stand beside walrec's of the same round.
                    rounds.resize(round, f64::NAN);
                    rounds.push(value);
                }
            }
            Err(why) => measured.failures.push(format!("{act}, round {}: {why}", round + 1)),
        }
        clear(&dir);
    }
}

/// A new, empty directory.
pub fn fresh(place: &Path, name: &str) -> PathBuf {
    let dir = place.join(name);
    let _ = fs::remove_dir_all(&dir);
    let _ = fs::create_dir_all(&dir);
    dir
}

/// Removes a log, and leaves the disk with nothing to write for the next peer.
pub fn clear(dir: &Path) {
    let _ = fs::remove_dir_all(dir);
    if let Some(place) = dir.parent().and_then(|parent| File::open(parent).ok()) {
        // SAFETY: an open descriptor.
        unsafe { libc::syncfs(place.as_raw_fd()) };
    }
}

/// Starts this program again, for one act. Its environment is empty: some peers look things up there with each append.
pub fn start(peer: &str, act: &[&OsStr]) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("child").arg(peer).args(act).env_clear().stdin(Stdio::null());
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// Runs a child to its end.
pub fn figures_of(peer: &str, act: &[&OsStr]) -> Outcome<Vec<(String, f64)>> {
    let output = start(peer, act)?.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, last_line(&output.stderr)).into());
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    let figures = printed.lines().filter_map(|line| line.strip_prefix("figure ")?.rsplit_once(' '));
    Ok(figures.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
}

/// What a child said last before it ended.
pub fn last_line(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}
