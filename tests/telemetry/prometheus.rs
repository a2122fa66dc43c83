//! The Prometheus text: by a strict checker here, and by Prometheus' own Python client.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use walrec::recorder::WorkerKind;
use walrec::storage::simulated::SimulatedSystem;
use walrec::telemetry::{Snapshot, Standing, Table, text};

use super::reader::sample;
use super::watch::{CAPACITY, Watched, config, values};

/// A recorder's text with all sorts of values in it, and how many samples it must have.
pub(super) fn sample_text() -> (Watched, String) {
    let mut watched =
        Watched::open(&SimulatedSystem::new(3), &walrec::recorder::Config { append_sample: 7, ..config() });
    watched.append(1..=CAPACITY);
    watched.settle(WorkerKind::Flusher);
    watched.settle(WorkerKind::Maintainer);
    let text = text::prometheus(&watched.snapshot());
    (watched, text)
}

/// The faults of a text, by the rules of the exposition format 0.0.4 and of the naming of metrics.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let (mut helped, mut current) = (BTreeSet::new(), String::new());
    let mut seen = BTreeSet::new();
    let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts: BTreeMap<String, f64> = BTreeMap::new();
    if !text.ends_with('\n') {
        faults.push("the last line is not ended".to_owned());
    }
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            if help.is_empty() || !helped.insert(name.to_owned()) {
                faults.push(format!("HELP empty or twice: {line}"));
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            if !["counter", "gauge", "histogram"].contains(&kind) || !helped.contains(name) {
                faults.push(format!("TYPE unknown or without HELP: {line}"));
            }
            if types.insert(name.to_owned(), kind.to_owned()).is_some()
                || (kind == "counter") != name.ends_with("_total")
            {
                faults.push(format!("TYPE twice, or a counter by name alone: {line}"));
            }
            name.clone_into(&mut current);
        } else {
            let Some((name, labels, value)) = split_sample(line) else {
                faults.push(format!("no sample: {line}"));
                continue;
            };
            if !seen.insert(line.rsplit_once(' ').map(|(before, _)| before.to_owned())) {
                faults.push(format!("twice: {line}"));
            }
            let histogram = types.get(&current).is_some_and(|kind| kind == "histogram");
            let suffix = name.strip_prefix(current.as_str());
            match suffix {
                Some("") if !histogram => {}
                Some("_bucket") if histogram => {
                    let (rest, bound) = labels.rsplit_once("le=\"").unwrap_or((&labels, ""));
                    let bound = bound.trim_end_matches('"').replace("+Inf", "inf").parse().unwrap_or(f64::NAN);
                    let key = format!("{current}{{{}}}", rest.trim_end_matches(','));
                    buckets.entry(key).or_default().push((bound, value));
                }
                Some("_count") if histogram => drop(counts.insert(format!("{current}{{{labels}}}"), value)),
                Some("_sum") if histogram => {}
                _ => faults.push(format!("outside of its family {current}: {line}")),
            }
        }
    }
    for (key, bounds) in &buckets {
        let rising = bounds.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let last = bounds.last().copied().unwrap_or_default();
        if !rising || !last.0.is_infinite() || counts.get(key) != Some(&last.1) {
            faults.push(format!("buckets that do not rise to the count: {key}"));
        }
    }
    faults
}

/// Name, labels, value; none when the line is no sample of this library.
fn split_sample(line: &str) -> Option<(String, String, f64)> {
    let (before, value) = line.rsplit_once(' ')?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "NaN" => f64::NAN,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => digits.parse().ok()?,
        _ => return None,
    };
    let (name, labels) = match before.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (before, ""),
    };
    let good = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    // Labels here hold no escapes: name="text", separated by commas outside of the text.
    let mut rest = labels;
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let (_, after) = after.split_once('"')?;
        if label.is_empty() || !label.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return None;
        }
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    (good && name.starts_with("walrec_")).then(|| (name.to_owned(), labels.to_owned(), value))
}

#[test]
fn passes_a_strict_checker() {
    for (text, lines) in [(sample_text().1, 500), (text::prometheus(&sample()), 200)] {
        let found = faults(&text);
        assert!(found.is_empty(), "\n{}", found.join("\n"));
        assert!(text.lines().count() > lines);
    }
}

#[test]
fn the_checker_sees_faults() {
    let (_watched, text) = sample_text();
    for (from, to) in [
        ("# HELP walrec_poisoned", "# HELP walrec_poison"),
        ("# TYPE walrec_poisoned gauge", "# TYPE walrec_poisoned gouge"),
        ("walrec_poisoned 0\n", "walrec_poisoned\n"),
        ("walrec_poisoned 0\n", "walrec_poisoned -\n"),
        ("walrec_poisoned 0\n", "walrec_poisoned 0\nwalrec_poisoned 1\n"),
        ("walrec_poisoned 0\n", "poisoned 0\n"),
        ("state=\"active\"", "state=\"active"),
        ("walrec_append_seconds_count ", "walrec_append_seconds_count 1"),
        ("walrec_append_seconds_bucket{le=\"+Inf\"}", "walrec_append_seconds_bucket{le=\"99\"}"),
        ("# TYPE walrec_worker_errors_total counter", "# TYPE walrec_worker_errors_total gauge"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(!faults(&text.replacen(from, to, 1)).is_empty(), "{from} as {to} is not seen");
    }
}

/// The fields of the structure.
fn fields<T: Table>(snapshot: &Snapshot<T>) -> Vec<String> {
    let reasons = walrec::format::Reason::ALL.iter().map(|reason| format!("{reason:?}")).collect::<BTreeSet<_>>();
    let gauges = snapshot.gauges.each();
    let gauges = gauges.iter().map(|(texts, _)| texts[0].to_owned());
    values(snapshot).into_keys().filter(|name| !reasons.contains(name)).chain(gauges).collect()
}

fn holds_in_words<T: Table>(snapshot: &Snapshot<T>) {
    let text = text::human(snapshot);
    eprintln!("{text}");
    assert!(text.is_ascii());
    for name in fields(snapshot) {
        assert!(text.lines().any(|line| line.split(' ').next() == Some(&name)), "{name} is not in\n{text}");
    }
    let document = include_str!("../../docs/TELEMETRY.md");
    for field in fields(snapshot) {
        assert!(document.contains(&format!("| `{field}` |")), "{field} is not in docs/TELEMETRY.md");
    }
    let text = text::prometheus(snapshot);
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        assert!(document.contains(&format!("`{family}")), "{family} is not in docs/TELEMETRY.md");
    }
}

#[test]
fn the_text_for_a_person_and_the_document_name_everything() {
    holds_in_words(&sample_text().0.snapshot());
    holds_in_words(&sample());
}

fn environment() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("prometheus-client")
}

/// Whether a step of making the environment worked; what it said if not.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}\n{told}", output.status)) }
}

/// Makes the environment, unless it is there: it needs python3 with venv and pip, and PyPI once.
fn client_in(environment: &std::path::Path) -> Result<PathBuf, String> {
    let python = environment.join("bin/python3");
    if run(Command::new(&python).args(["-c", "import prometheus_client"])).is_err() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "prometheus-client"];
        run(Command::new(&python).args(install))?;
    }
    Ok(python)
}

/// The parser of the package prometheus-client, in an environment below target. Each sample must come out of it as it went in.
#[test]
fn parses_with_prometheus_own_client() {
    const SCRIPT: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(sys.stdin.read()))
assert all(f.name.startswith('walrec_') and f.documentation and f.type in ('counter', 'gauge', 'histogram') for f in families)
print(len(families), sum(len(f.samples) for f in families))
for f in families:
    for s in f.samples:
        if s.name in ('walrec_events_appended_total', 'walrec_events_durable_total', 'walrec_reader_events_total'):
            print(s.name, int(s.value))
";
    let python = match client_in(&environment()) {
        Ok(python) => python,
        Err(why) => {
            eprintln!("SKIP parses_with_prometheus_own_client: NOT run, prometheus-client cannot be had here: {why}");
            return;
        }
    };
    let parse = |text: &str| {
        let mut child = Command::new(&python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        child.wait_with_output().unwrap()
    };
    let told_of = |text: &str| {
        let output = parse(text);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let families = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let counts = told.strip_prefix(&format!("{families} {samples}\n"));
        counts.unwrap_or_else(|| panic!("{families} families, {samples} samples; told: {told}")).to_owned()
    };
    let (watched, text) = sample_text();
    let counts = values(&watched.snapshot());
    let (appended, durable) = (counts["events_appended"], counts["events_durable"]);
    let expected = format!("walrec_events_appended_total {appended}\nwalrec_events_durable_total {durable}\n");
    assert_eq!(told_of(&text), expected);
    let reader = sample();
    let expected = format!("walrec_reader_events_total {}\n", values(&reader)["events"]);
    assert_eq!(told_of(&text::prometheus(&reader)), expected);
    // It would say if it could not.
    assert!(!parse(&text.replacen("walrec_poisoned 0", "walrec_poisoned{ 0", 1)).status.success());
}
