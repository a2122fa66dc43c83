//! docs/COMMANDS.md and the manual against the command: every command of the page is run, and prints what stands there, numbers aside;
//! `WALREC_COMMANDS=write` (make commands) writes it down instead. The manual names every command and option.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use walrec::recorder::{self, Config};

use crate::ground::{Ground, event, record_closed, walrec};

/// Commands whose output is the machine's own.
const OF_THE_MACHINE: [&str; 4] = ["doctor", "bench", "stats", "replay"];

pub(super) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The page cut at its console blocks: text, block, text, block, ..., text.
fn pieces(page: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut inside = false;
    for line in page.lines() {
        if inside && line == "```" {
            inside = false;
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            *piece += &format!("{line}\n");
        }
        if line == "```console" {
            inside = true;
            pieces.push(String::new());
        }
    }
    pieces
}

/// Runs the commands of a block, each after a `$`; the block as it should stand.
fn run_block(block: &str, folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_walrec")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut text = String::new();
    for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let script = format!("exec 2>&1; {line}");
        let output = Command::new("sh").args(["-c", &script]).env("PATH", &path).current_dir(folder).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(!printed.is_empty(), "{line}: says nothing");
        text += &format!("$ {line}\n{printed}");
    }
    text
}

/// Lines with words that hold a digit masked.
fn shape(block: &str) -> String {
    let word = |word: &str| if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    block.lines().map(|text| if text.starts_with("$ ") { text.to_owned() } else { line(text) } + "\n").collect()
}

/// The logs that the page speaks of: `orders.log`, `damaged.log`; `live.log` is written to while `look` runs.
pub(super) fn with_logs(ground: &Ground, look: impl FnOnce(&Path)) {
    record_closed(&ground.log("orders.log"));
    ground.damaged("damaged.log");
    let stop = AtomicBool::new(false);
    let (mut writer, manager) = recorder::open(&ground.log("live.log"), &Config::default()).unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut next = 1;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..100 {
                    writer.append(&event(next)).unwrap();
                    next += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        while manager.durable_event_id() < 100 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(ground.path())));
        stop.store(true, Ordering::Relaxed);
        writing.join().unwrap();
        looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    manager.shutdown().unwrap();
}

#[test]
fn the_page_of_commands_shows_what_they_print() {
    let ground = Ground::new("page");
    let file = project("docs/COMMANDS.md");
    let page = fs::read_to_string(&file).unwrap();
    let pieces = pieces(&page);
    assert!(pieces.len() > 20, "the blocks are found");
    let mut anew = String::new();
    with_logs(&ground, |folder| {
        for (place, piece) in pieces.iter().enumerate() {
            anew += &if place % 2 == 0 { piece.clone() } else { run_block(piece, folder) };
        }
    });
    if std::env::var_os("WALREC_COMMANDS").is_some_and(|wish| wish == "write") {
        fs::write(&file, anew).unwrap();
        println!("written: docs/COMMANDS.md");
        return;
    }
    for (kept, now) in pieces.iter().zip(self::pieces(&anew)).skip(1).step_by(2) {
        if !OF_THE_MACHINE.iter().any(|name| kept.starts_with(&format!("$ walrec {name} "))) {
            assert_eq!(shape(kept), shape(&now), "docs/COMMANDS.md is behind: make commands");
        }
    }
    let wrong = "$ walrec verify x\nsegments 5\n";
    assert_ne!(shape(wrong), shape("$ walrec verify x\nblocks 5\n"), "control");
    assert_eq!(shape(wrong), shape("$ walrec verify x\nsegments  17\n"), "control");
}

/// Long options of a help text.
fn options_of(help: &str) -> BTreeSet<String> {
    let words = help.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).filter(|word| word.starts_with("--"));
    words.filter(|word| word.len() > 3).map(str::to_owned).collect()
}

#[test]
fn the_manual_names_every_command_and_option() {
    let manual = fs::read_to_string(project("docs/man/walrec.1")).unwrap().replace("\\-", "-");
    let page = fs::read_to_string(project("docs/COMMANDS.md")).unwrap();
    let help = walrec(&["--help"]);
    let commands: Vec<&str> = help
        .text()
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split(' ').next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 9, "{commands:?}");
    for name in commands {
        assert!(
            manual.contains(&format!("\n.B {name}\n")) || manual.contains(&format!("\n.BI \"{name} ")),
            "{name}: not in the manual"
        );
        assert!(page.contains(&format!("$ walrec {name} ")), "{name}: not in docs/COMMANDS.md");
        let options = options_of(walrec(&[name, "--help"]).text());
        assert!(options.contains("--json"), "{name}: its options are found");
        for option in options {
            assert!(manual.contains(&option), "{name} {option}: not in the manual");
        }
    }
    for code in 0..=4 {
        assert!(manual.contains(&format!("\n.B {code}\n")), "exit code {code} is not in the manual");
    }
    assert_eq!(options_of("-f, --follow  x --no-such"), BTreeSet::from(["--follow".into(), "--no-such".into()]));
}

/// What `make install` puts into place with a command that was built, and without.
#[test]
fn the_command_and_its_manual_are_installed() {
    let ground = Ground::new("install");
    let release = ground.empty("release");
    for name in ["libwalrec.so", "libwalrec.a"] {
        fs::write(release.join(name), "").unwrap();
    }
    for (command, installed) in [(env!("CARGO_BIN_EXE_walrec"), true), ("no/such/file", false), ("", false)] {
        let prefix = ground.log("prefix");
        let _ = fs::remove_dir_all(&prefix);
        let mut script = Command::new(project("packaging/install.sh"));
        script.env("PREFIX", &prefix).env("LIBDIR", prefix.join("lib")).env("INCLUDEDIR", prefix.join("include"));
        script.env("RELEASE", &release).env("STRIP", "cat").env("DESTDIR", "").env("COMMAND", command);
        let output = script.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8(output.stdout).unwrap();
        for file in ["bin/walrec", "share/man/man1/walrec.1"] {
            assert_eq!(prefix.join(file).is_file(), installed, "{command:?}: {file}");
            assert_eq!(told.lines().any(|line| Path::new(line) == prefix.join(file)), installed, "{command:?}: {told}");
        }
        if installed {
            let said = Command::new(prefix.join("bin/walrec")).arg("--version").output().unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout), format!("walrec {}\n", env!("CARGO_PKG_VERSION")));
        }
    }
}
