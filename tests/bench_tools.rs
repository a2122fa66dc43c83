//! What stands behind the benchmarks. `benches/report.py`: what was measured becomes a section between its markers, the rest of the document
//! stays as it is, and the plots are XML. `benches/instructions.sh`: more instructions than recorded are an error, with the same compilers.
//! Their input here is made up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const APPEND: &str = r#"{"about": {"cpu": "one | two"}, "rows": [
  {"id": "a", "what": "an append", "value": 4.256, "unit": "ns", "target": "<= 5", "met": true},
  {"id": "b", "what": "a rotation", "value": 123456, "unit": "ns", "target": "<= 1000", "met": false},
  {"id": "c", "what": "a copy", "value": 3, "unit": "ns", "target": "", "met": null}],
 "curves": [
  {"name": "1M.append, service", "samples": 1000, "ns": {"p50": 20.0, "p99": 30.5, "p99.9": 110, "max": 20000}},
  {"name": "1M.<timer>", "samples": 1000, "ns": {"p50": 0, "p99": 20, "p99.9": 21, "max": 30}},
  {"name": "1M.append to durable", "samples": 10, "ns": {"p50": 200000, "p99": 300000, "p99.9": 500000, "max": 2e6}}]}"#;

const PEERS: &str = r#"{"machine": {"cpu": "x"}, "rows": [
  {"peer": "walrec", "version": "1", "survives": "kill -9", "table": "accepted", "metric": "ns", "value": 5, "walrec_times_better": 1},
  {"peer": "other", "version": "2", "survives": "nothing", "table": "accepted", "metric": "ns", "value": 50, "walrec_times_better": 10},
  {"peer": "other", "version": "2", "survives": "nothing", "table": "killed", "accepted": 10, "lost": 3, "wrong": 0}]}"#;

const DOCUMENT: &str = "# Performance\n\nBy hand.\n\n<!-- bench-report: append -->\n\nold\n\n<!-- bench-report: end of append -->\n\nBelow.\n";

/// Whether there is a python3 here.
fn python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIP report.py: NOT run, there is no python3 here");
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn fresh(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory");
    directory
}

/// Runs it in `directory` on what lies there; whether it succeeded, and the document after it.
fn report(directory: &Path, files: &[(&str, &str)]) -> (bool, String) {
    let document = directory.join("PERFORMANCE.md");
    let mut command = Command::new("python3");
    command.arg(root().join("benches/report.py")).arg("--document").arg(&document);
    command.arg("--plots").arg(directory.join("plots"));
    for (name, text) in files {
        fs::write(directory.join(name), text).expect("a file");
        command.arg(directory.join(name));
    }
    let output = command.output().expect("python3 runs");
    (output.status.success(), fs::read_to_string(&document).expect("the document"))
}

#[test]
fn sections_come_between_their_markers_and_the_rest_stays() {
    if !python() {
        return;
    }
    let directory = fresh("bench-report");
    fs::write(directory.join("PERFORMANCE.md"), DOCUMENT).expect("a file");
    let (succeeded, first) = report(&directory, &[("append.json", APPEND), ("peers.json", PEERS)]);
    assert!(succeeded);
    let (begin, rest) = first.split_once("<!-- bench-report: append -->").expect("the marker stays");
    let (section, below) = rest.split_once("<!-- bench-report: end of append -->").expect("the marker stays");
    assert_eq!(begin, "# Performance\n\nBy hand.\n\n");
    assert!(below.starts_with("\n\nBelow.\n"), "{below}");
    for part in [
        "| an append | 4.26 | ns | <= 5 | met |",
        "| a rotation | 123,456 | ns | <= 1000 | **missed** |",
        "| a copy | 3 | ns |  |  |",
        "| 1M.append, service | 1,000 | 20 | 30.50 | 110 | 20,000 |",
        "cpu: one | two",
        "](plots/append-1M.svg)",
        "](plots/durable-lag.svg)",
    ] {
        assert!(section.contains(part), "{part} is not in\n{section}");
    }
    assert!(!section.contains("\nold\n"));
    for part in ["| other | 2 | nothing | 50 (10 x) |", "| walrec | 1 | kill -9 | 5 |", "| other | 1 | 10 | 3 | 0 |"] {
        assert!(below.contains(part), "{part} is not in\n{below}");
    }
    let (succeeded, second) = report(&directory, &[("append.json", APPEND), ("peers.json", PEERS)]);
    assert!(succeeded && first == second, "a second run changes nothing");
    // What is no JSON changes nothing, and is told.
    let (succeeded, third) = report(&directory, &[("append.json", &APPEND[1..])]);
    assert!(!succeeded && third == first);
}

#[test]
fn plots_are_xml_on_a_scale_of_decades() {
    if !python() {
        return;
    }
    let directory = fresh("bench-report-plots");
    fs::write(directory.join("PERFORMANCE.md"), DOCUMENT).expect("a file");
    assert!(report(&directory, &[("append.json", APPEND)]).0);
    for name in ["append-1M.svg", "durable-lag.svg"] {
        let parse = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";
        let parsed = Command::new("python3").args(["-c", parse]).arg(directory.join("plots").join(name)).output();
        assert!(parsed.expect("python3 runs").status.success(), "{name} is no XML");
    }
    let plot = fs::read_to_string(directory.join("plots/append-1M.svg")).expect("the plot");
    assert_eq!(plot.matches("<polyline").count(), 2);
    assert!(plot.contains("&lt;timer&gt;") && plot.contains(">100 us</text>"), "{plot}");
    // 20 ns, 2,000 ns and 20,000 ns: as far apart as the decades between them.
    let service = plot.split_once("<polyline points=\"").expect("a line").1;
    let heights: Vec<f64> = service.split('"').next().expect("points").split(' ').map(height).collect();
    let decade = |from: f64, to: f64, decades: f64| (from - to) / decades;
    let scale = decade(heights[0], heights[3], 3.0);
    assert!((decade(heights[0], heights[2], (110_f64 / 20.0).log10()) - scale).abs() < 0.2, "{heights:?}");
}

/// The y of "x,y".
fn height(point: &str) -> f64 {
    point.split(',').nth(1).and_then(|y| y.parse().ok()).expect("a point")
}

/// Runs a copy of `instructions.sh` beside a record, with a valgrind that counts 400,000 instructions whatever it runs: one for each event of the
/// hot path. Gives its exit code and what it printed.
fn counted(directory: &Path, record: &str) -> (Option<i32>, String) {
    use std::os::unix::fs::PermissionsExt as _;
    let script = directory.join("instructions.sh");
    fs::copy(root().join("benches/instructions.sh"), &script).expect("the script is there");
    fs::write(directory.join("instructions.txt"), record).expect("a file");
    let valgrind = directory.join("valgrind");
    fs::write(&valgrind, "#!/bin/sh\necho '==1== Collected : 400000' >&2\n").expect("a file");
    fs::set_permissions(&valgrind, fs::Permissions::from_mode(0o755)).expect("permissions");
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").expect("a PATH"));
    let mut command = Command::new("bash");
    command.arg(&script).args(["true", "true"]).arg(directory.join("work")).env("PATH", path).env("CC", "echo");
    let output = command.output().expect("bash runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

#[test]
fn more_instructions_than_recorded_are_an_error() {
    let directory = fresh("bench-instructions");
    let rustc = Command::new("rustc").arg("--version").output().expect("rustc runs");
    let versions = format!("# {}; --version\n", String::from_utf8_lossy(&rustc.stdout).trim());
    for (code, record) in [(0, "append_library 1.00\n"), (0, "append_library 0.985\n"), (1, "append_library 0.97\n")] {
        let (ended, text) = counted(&directory, &format!("{versions}{record}"));
        assert_eq!(ended, Some(code), "{record}{text}");
        assert_eq!(text.contains("MORE than 2 %"), code != 0, "{text}");
    }
    let (ended, text) = counted(&directory, "# another rustc\nappend_library 0.5\n");
    assert!(ended == Some(0) && text.contains("nothing is compared"), "{text}");
}
