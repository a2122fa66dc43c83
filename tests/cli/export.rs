//! `export`: what pandas, pyarrow and DuckDB read is what `dump` prints; no file where there is a fault; memory that does not grow.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use walrec::format::Event;
use walrec::recorder::{self, Config};

use crate::ground::{Ground, append_to, command, on, wait_for, walrec};

/// A Python with pandas, pyarrow and DuckDB, below target/, made once; `None` where it cannot be made.
pub fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = PYTHON.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export-python");
        let python = folder.join("bin/python");
        let loads = || Command::new(&python).args(["-c", "import duckdb, pandas, pyarrow"]).output();
        if !loads().is_ok_and(|output| output.status.success()) {
            let script = format!(
                "python3 -m venv --clear '{0}' && '{0}/bin/pip' install -q --disable-pip-version-check pandas pyarrow duckdb",
                folder.display()
            );
            let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
            if !output.status.success() || !loads().is_ok_and(|output| output.status.success()) {
                let why = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
                println!("SKIP walrec export: pandas, pyarrow and DuckDB DID NOT RUN, they cannot be installed from PyPI: {why}");
                return None;
            }
        }
        Some(python)
    });
    made.as_deref()
}

/// Whether the files hold what the CSV does, and what was said.
fn held(csv: &Path, files: &[PathBuf]) -> Option<(bool, String)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/export.py");
    let output = Command::new(python()?).arg(script).arg(csv).args(files).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8(said).unwrap()))
}

/// Exports in both forms and dumps as CSV, all with these options: the CSV, and the two files.
fn exported(ground: &Ground, log: &Path, name: &str, options: &[&str]) -> (PathBuf, Vec<PathBuf>) {
    let csv = ground.log(&format!("{name}.csv"));
    let text = on("dump", log, &[&["--format", "csv"], options].concat(), 0).out;
    // A dump of nothing has no heading.
    fs::write(&csv, if text.is_empty() { b"event_id\n".to_vec() } else { text }).unwrap();
    let files = ["parquet", "arrow"].map(|ending| ground.log(&format!("{name}.{ending}")));
    for file in &files {
        on("export", log, &[&["--out", file.to_str().unwrap()], options].concat(), 0);
    }
    (csv, files.to_vec())
}

/// A log of events whose fields are at the ends of their ranges, and in between.
fn record_extremes(log: &Path) {
    let (mut writer, manager) = recorder::open(log, &Config::default()).unwrap();
    let numbers = [i64::MIN, -1, 0, 1, i64::MAX];
    let halves = [0, 1, u32::MAX];
    // DuckDB takes the very last nanosecond for infinity.
    for (place, id) in [1, 2, u64::from(u32::MAX), 1 << 40, u64::MAX / 3, u64::MAX - 1].into_iter().enumerate() {
        let event = Event {
            event_id: id,
            timestamp_ns: [0, 1, 1_700_000_000_123_456_789, i64::MAX as u64 - 1][place % 4],
            price: numbers[place % 5],
            quantity: numbers[(place + 2) % 5],
            user_id: halves[place % 3],
            order_id: halves[(place + 1) % 3],
            kind: [0, 3, 255][place % 3],
            order_type: [255, 0, 1][place % 3],
            side: [1, 255, 0][place % 3],
            user_bytes: [[0, 0xff, 0x5a][place % 3]; 17],
            ..Event::default()
        };
        writer.append(&event).unwrap();
    }
    manager.shutdown().unwrap();
}

#[test]
fn pandas_and_duckdb_read_what_dump_prints() {
    let ground = Ground::new("export");
    let (log, extremes) = (ground.closed("log"), ground.log("extremes"));
    record_extremes(&extremes);
    let cases = [
        (&log, "all", &[][..]),
        (&log, "ids", &["--from", "4095", "--to", "12300"]),
        (&log, "times", &["--since", "1700000000009000000", "--until", "2023-11-14T22:13:20.015Z"]),
        (&log, "limit", &["--limit", "1"]),
        (&log, "nothing", &["--from", "20000", "--limit", "0"]),
        (&extremes, "extremes", &[]),
    ];
    for (log, name, options) in cases {
        let (csv, files) = exported(&ground, log, name, options);
        let Some((same, said)) = held(&csv, &files) else { return };
        assert!(same, "{name}: {said}");
        print!("FIGURE walrec export, read by pandas and DuckDB as dumped: {said}");
    }
    // The check itself: a digit of one event, and one event less, are seen.
    let csv = fs::read_to_string(ground.log("all.csv")).unwrap();
    let (file, wrong) = ([ground.log("all.parquet")], ground.log("wrong.csv"));
    fs::write(&wrong, csv.replace("\n9000,1700000000009000000,", "\n9000,1700000000009000001,")).unwrap();
    let (same, said) = held(&wrong, &file).unwrap();
    assert!(!same && said.contains("timestamp_ns"), "control: {said}");
    fs::write(&wrong, &csv[..=csv.trim_end().rfind('\n').unwrap()]).unwrap();
    assert!(!held(&wrong, &file).unwrap().0, "control");
}

#[test]
fn decimal_prices_are_read_as_such() {
    let ground = Ground::new("decimal");
    let log = ground.closed("log");
    let out = ground.log("out.parquet");
    on("export", &log, &["--out", out.to_str().unwrap(), "--price-scale", "2", "--to", "3"], 0);
    let Some(python) = python() else { return };
    let script = "import sys, pandas; print([str(p) for p in pandas.read_parquet(sys.argv[1]).price])";
    let output = Command::new(python).args(["-c", script]).arg(&out).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "['999.99', '999.98', '999.97']\n");
}

/// The documents' lines of Python, on a file that `export` made.
#[test]
fn the_python_of_the_page_works() {
    let ground = Ground::new("python");
    let log = ground.closed("log");
    on("export", &log, &["--out", ground.log("orders.parquet").to_str().unwrap()], 0);
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/COMMANDS.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```python\n").skip(1).filter_map(|rest| rest.split_once("```").map(|(block, _)| block)).collect();
    assert_eq!(blocks.len(), 1);
    let Some(python) = python() else { return };
    let output = Command::new(python).args(["-c", blocks[0]]).current_dir(ground.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("20000"));
}

/// What lies in a directory, hidden names too.
fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn where_there_is_a_fault_there_is_no_file() {
    let ground = Ground::new("faulty");
    let (log, file) = ground.damaged("damaged");
    let place = ground.empty("place");
    let out = place.join("out.parquet");
    let out = out.to_str().unwrap();
    let ran = on("export", &log, &["--out", out, "--json"], 1);
    let value = ran.value();
    assert_eq!(value["error"]["exit_code"], 1);
    let told = value["error"]["message"].as_str().unwrap();
    assert!(told.contains(file.to_str().unwrap()) && told.contains("no file was made: --to 9984 "), "{told}");
    on("export", &ground.empty("empty"), &["--out", out], 3);
    assert_eq!(walrec(&["export", ground.log("nothing").to_str().unwrap(), "--out", out]).code, 3);
    // No room for the file: a limit on its size stands for a full disk.
    for ending in ["parquet", "arrow"] {
        let script = format!("trap '' XFSZ; ulimit -f 16; exec \"$@\"; {ending}");
        let out = place.join(format!("out.{ending}"));
        let sound = ground.closed(&format!("sound-{ending}"));
        let mut limited = Command::new("bash");
        limited.args(["-c", &script, "-", env!("CARGO_BIN_EXE_walrec"), "export"]).arg(sound).arg("--out").arg(&out);
        let output = limited.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains(out.to_str().unwrap()) && said.contains("File too large"), "{said}");
    }
    assert_eq!(names(&place), Vec::<String>::new(), "nothing half-written");
    let value = on("export", &log, &["--out", out, "--to", "9984", "--json"], 0).value();
    assert_eq!((value["events"].as_u64(), value["last_event_id"].as_u64()), (Some(9_984), Some(9_984)));
    assert_eq!(names(&place), ["out.parquet"]);
    let whole = fs::read(out).unwrap();
    assert_eq!(value["bytes_written"].as_u64(), Some(whole.len() as u64));
    let again = on("export", &log, &["--out", out, "--to", "10"], 2);
    assert!(again.err.contains("is there already") && fs::read(out).unwrap() == whole, "{}", again.err);
    for (name, why) in [("out.txt", "--format"), ("out", "--format")] {
        let ran = on("export", &log, &["--out", place.join(name).to_str().unwrap()], 2);
        assert!(ran.err.contains(why), "{}", ran.err);
    }
    let inside = on("export", &log, &["--out", log.join("x.parquet").to_str().unwrap()], 2);
    assert!(inside.err.contains("lies in the log directory"), "{}", inside.err);
}

/// The most memory that an export had, in KiB, by looks at it while it ran.
fn peak_kib(log: &Path, out: &Path) -> u64 {
    let mut export = command(&["export", log.to_str().unwrap(), "--out", out.to_str().unwrap(), "--json"]);
    let mut child = export.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(peak);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return peak;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ctrl-C leaves nothing, `kill -9` never the final name.
fn ended_early_it_leaves_no_file(ground: &Ground, log: &Path) {
    for (signal, code, left) in [("-INT", Some(4), 0), ("-KILL", None, 1)] {
        let place = ground.empty(&format!("ended{signal}"));
        let out = place.join("out.arrow");
        let mut export = command(&["export", log.to_str().unwrap(), "--out", out.to_str().unwrap()]);
        let child = export.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for("a file that is being written", || !names(&place).is_empty());
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            println!("SKIP walrec export: {signal} came too late, it was DONE before");
            continue;
        }
        assert_eq!(output.status.code(), code, "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!out.exists() && names(&place).len() == left, "{signal}: {:?}", names(&place));
    }
}

#[test]
fn memory_does_not_grow_with_the_log() {
    const LIMIT_KIB: u64 = 80 << 10;
    let ground = Ground::new("memory");
    let keep = Config { max_segments: u32::MAX, ..Config::default() };
    let mut peaks = Vec::new();
    for events in [500_000, 2_500_000] {
        let log = ground.log(&format!("log-{events}"));
        let (mut writer, manager) = recorder::open(&log, &keep).unwrap();
        (1..=5).for_each(|part| append_to(&mut writer, &manager, events / 5 * part));
        manager.shutdown().unwrap();
        for ending in ["parquet", "arrow"] {
            let out = ground.log(&format!("{events}.{ending}"));
            let peak = peak_kib(&log, &out);
            let bytes = fs::metadata(&out).unwrap().len();
            println!("FIGURE walrec export: {events} events as {ending}, {bytes} bytes, peak {peak} KiB");
            assert!(peak > 1_000 && peak <= LIMIT_KIB, "{peak} KiB");
            peaks.push(peak);
        }
    }
    ended_early_it_leaves_no_file(&ground, &ground.log("log-2500000"));
    const { assert!(2_500_000 * 64 / 1_024 > LIMIT_KIB, "control: the limit is below the events themselves") };
    assert!(peaks[2] <= peaks[0] + (16 << 10) && peaks[3] <= peaks[1] + (16 << 10), "{peaks:?}");
}
