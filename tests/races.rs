//! Leaks and races, looked for by tools: loom over the models of src/sync, Miri, ThreadSanitizer, AddressSanitizer, UBSan, valgrind.
//!
//! The models run always, with few preemptions. The others need WALREC_RACES (`make races`), and where a tool is missing they say that
//! they did not run. Each has a control: a fault in the library, or in how it is used, that the tool must find.
//!
//! The sanitized libraries are built by nightly with the standard library's own sources, so that its locks and channels are seen too.
//! The C subjects are compiled by the same compiler as ever, and linked with Rust's run-time of the sanitizer: gcc's own lacks names
//! that LLVM's instrumentation calls.

#[path = "c/toolchain.rs"]
#[allow(dead_code, reason = "shared with c_face.rs, which uses more of it")]
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use toolchain::{announce, build_directory, project, run_tool};

const LIMIT: Duration = Duration::from_secs(900);
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The subjects of tests/c, but for those that count system calls or measure.
const SUBJECTS: [&str; 22] = [
    "append",
    "backpressure",
    "config",
    "fork",
    "last_error",
    "log_cb",
    "misuse",
    "model",
    "open",
    "processes",
    "reader",
    "report",
    "reserve",
    "retention",
    "rotate",
    "salvage",
    "seek_time",
    "shutdown",
    "sync",
    "telemetry",
    "threads",
    "verify",
];
/// What valgrind, thirty times slower, is to go through.
const SHORT_SUBJECTS: [&str; 6] = ["report", "last_error", "rotate", "shutdown", "verify", "reserve"];

fn did_not_run(what: &str, why: &str) {
    announce(&format!("SKIP {what}: did NOT run, because {why}"));
}

/// Whether everything is to run.
fn is_whole(what: &str) -> bool {
    let whole = std::env::var_os("WALREC_RACES").is_some();
    if !whole {
        did_not_run(what, "it takes minutes: `make races` runs it");
    }
    whole
}

/// The directory of the tools' builds of this kind.
fn target_directory(kind: &str) -> PathBuf {
    build_directory().with_file_name(kind)
}

/// Cargo, without what the cargo around this test has put into the environment.
fn cargo(program: &str, arguments: &[&str], kind: &str) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(project()).env("CARGO_TARGET_DIR", target_directory(kind));
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC", "RUSTDOC"] {
        command.env_remove(name);
    }
    command
}

/// Nightly's cargo.
fn nightly(arguments: &[&str], kind: &str) -> Command {
    cargo("rustup", &[&["run", "nightly", "cargo"], arguments].concat(), kind)
}

fn succeeds(mut command: Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Nightly's library directory, when it has what `component` names; else says so.
fn nightly_has(what: &str, component: &str) -> Option<PathBuf> {
    let output = Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]).output().ok();
    let sysroot = output
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let Some(sysroot) = sysroot else {
        did_not_run(what, "there is no nightly toolchain");
        return None;
    };
    let library = sysroot.join("lib/rustlib");
    let there = match component {
        "miri" => succeeds(nightly(&["miri", "--version"], "miri")),
        _ => true,
    };
    if !there || !library.join("src/rust/library/std").is_dir() {
        let needed = if there { "rust-src" } else { component };
        did_not_run(what, &format!("nightly has no {needed}: `rustup component add --toolchain nightly {needed}`"));
        return None;
    }
    Some(library.join(TARGET).join("lib"))
}

fn figures(text: &str) {
    for line in text.lines().filter_map(|line| line.find("FIGURE").map(|at| &line[at..])) {
        announce(line);
    }
}

/// Every order in which the threads of src/sync's pieces can meet, with so many preemptions (WALREC_MODEL_PREEMPTIONS, 2).
#[test]
fn models() {
    let manifest = project().join("tests/models/Cargo.toml");
    let arguments = ["test", "--quiet", "--locked", "--lib", "--manifest-path", manifest.to_str().expect("UTF-8")];
    let arguments = [&arguments[..], &["--", "--nocapture"]].concat();
    let text = run_tool(&mut cargo(env!("CARGO"), &arguments, "models"), "A model does not hold, or a control does.");
    figures(&text);
    assert!(
        text.matches(": holds in").count() >= 12 && text.matches("found: ").count() >= 20,
        "too few models:\n{text}"
    );
}

/// The heap-backed stage in a stepped life of a log, and the unit tests of the lowest layers.
#[test]
fn miri() {
    const WHAT: &str = "miri";
    if !is_whole(WHAT) || nightly_has(WHAT, "miri").is_none() {
        return;
    }
    let runs: [&[&str]; 2] = [
        &["miri", "test", "--locked", "--test", "stepped"],
        // All that has unsafe code and runs on memory alone. The runner blocks signals, which Miri cannot; loom has it.
        &[
            "miri",
            "test",
            "--locked",
            "--lib",
            "--",
            "format::guard",
            "sync::",
            "telemetry::clock",
            "--skip",
            "sync::runner",
        ],
    ];
    for arguments in runs {
        let mut command = nightly(arguments, "miri");
        // The clock and the seed are the real ones. The stage's control pages are reached by address.
        command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
        let text = run_tool(&mut command, "Miri found undefined behaviour, or a test failed.");
        let result = text.lines().rfind(|line| line.starts_with("test result")).unwrap_or("no result");
        announce(&format!("FIGURE miri {}: {result}", arguments[3..].join(" ")));
    }
    let mut control = nightly(&["miri", "test", "--locked", "--test", "stepped"], "miri");
    control.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("WALREC_STEPPED_FAULT", "1");
    let output = control.output().expect("miri has just run");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("Undefined Behavior"), "the control was not found:\n{text}");
    announce("FIGURE miri: control found");
}

/// A sanitizer: its name for both compilers, the file of Rust's run-time, its options, and its controls with what it says of them.
struct Sanitizer {
    kind: &'static str,
    runtime: &'static str,
    options: &'static str,
    controls: &'static [(&'static str, &'static str)],
}

const THREAD: Sanitizer = Sanitizer {
    kind: "thread",
    runtime: "librustc-nightly_rt.tsan.a",
    // A child that is forked beside other threads makes a log of its own in the subjects.
    options: "TSAN_OPTIONS=die_after_fork=0:history_size=4:handle_segv=0:handle_sigbus=0:handle_sigfpe=0",
    controls: &[("race", "WARNING: ThreadSanitizer: data race")],
};

const ADDRESS: Sanitizer = Sanitizer {
    kind: "address",
    runtime: "librustc-nightly_rt.asan.a",
    options: "LSAN_OPTIONS=report_objects=1",
    controls: &[("overflow", "heap-buffer-overflow"), ("leak", "detected memory leaks")],
};

impl Sanitizer {
    /// Builds the library; gives its directory.
    fn build_library(&self) -> PathBuf {
        let arguments =
            ["rustc", "--locked", "--release", "--lib", "--crate-type", "cdylib", "-Zbuild-std", "--target", TARGET];
        let mut command = nightly(&arguments, self.kind);
        command.env("RUSTFLAGS", format!("-Zsanitizer={}", self.kind));
        command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        run_tool(&mut command, "The sanitized library could not be built.");
        let built = target_directory(self.kind).join(TARGET).join("release");
        let link = built.join("libwalrec.so.0");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink("libwalrec.so", &link).unwrap_or_else(|error| panic!("{}: {error}", link.display()));
        built
    }

    fn build(&self, subject: &str, library: &Path, runtime: &Path) -> PathBuf {
        let directory = build_directory().join(self.kind);
        fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let (object, program) = (directory.join(format!("{subject}.o")), directory.join(subject));
        let source = project().join("tests/c").join(format!("{subject}.c"));
        let sanitize = format!("-fsanitize={}", self.kind);
        let object = object.display().to_string();
        toolchain::compile("c99", &source, &["-D_GNU_SOURCE", "-O1", "-g", &sanitize, "-c", "-o", &object]);
        let mut linker = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        linker.arg("-o").arg(&program).arg(object).arg("-rdynamic");
        linker.arg("-Wl,--whole-archive").arg(runtime.join(self.runtime)).arg("-Wl,--no-whole-archive");
        linker.arg(library.join("libwalrec.so")).arg(format!("-Wl,-rpath,{}", library.display()));
        linker.args(["-pthread", "-ldl", "-lm", "-lrt", "-lstdc++"]);
        run_tool(&mut linker, "The sanitizer's run-time could not be linked.");
        program
    }

    fn run(&self, what: &str) {
        if !is_whole(what) {
            return;
        }
        let Some(runtime) = nightly_has(what, self.kind) else { return };
        let library = self.build_library();
        for &(control, finding) in self.controls {
            let program = self.build("faulty", &library, &runtime);
            let name = format!("{}-{control}", self.kind);
            let (succeeded, text) = run_subject(&[self.options, &leaks(control)], &program, &name, &[control]);
            assert!(!succeeded && text.contains(finding) && text.contains("walrec"), "control {control}:\n{text}");
        }
        for subject in SUBJECTS {
            let program = self.build(subject, &library, &runtime);
            let name = format!("{}-{subject}", self.kind);
            let (succeeded, text) = run_subject(&[self.options, &leaks(subject)], &program, &name, &[]);
            assert!(succeeded && !text.contains("Sanitizer"), "{name}:\n{text}");
        }
        announce(&format!("FIGURE {what}: {} subjects clean, {} controls found", SUBJECTS.len(), self.controls.len()));
    }
}

/// AddressSanitizer's options. A forked child leaves alone what belongs to its parent's threads. Signals are the subjects'.
fn leaks(subject: &str) -> String {
    let detect = u32::from(subject != "fork");
    format!(
        "ASAN_OPTIONS=detect_leaks={detect}:detect_stack_use_after_return=1:handle_segv=0:handle_sigbus=0:handle_sigfpe=0"
    )
}

/// Runs a program on a fresh directory, with these words of `env` before it; whether it succeeded, and what it said.
fn run_subject(before: &[&str], program: &Path, name: &str, after: &[&str]) -> (bool, String) {
    let work = toolchain::fresh_directory(name, false);
    let output = build_directory().join(format!("{name}.out"));
    let mut arguments = vec![Path::new("WALREC_SLOWNESS=10")];
    arguments.extend(before.iter().map(Path::new));
    arguments.extend([program, &work]);
    arguments.extend(after.iter().map(Path::new));
    let outcome = toolchain::run(Path::new("/usr/bin/env"), &arguments, &output, LIMIT);
    let _ = fs::remove_dir_all(&work);
    (outcome.status.success(), outcome.text)
}

/// The library and the subjects under ThreadSanitizer.
#[test]
fn thread_sanitizer() {
    THREAD.run("ThreadSanitizer");
}

/// The library and the subjects under AddressSanitizer, with its search for leaks.
#[test]
fn address_sanitizer() {
    ADDRESS.run("AddressSanitizer");
}

/// The subjects themselves under AddressSanitizer and UBSan, with the library as it ships: the harness is to be trusted too.
#[test]
fn harness_sanitized() {
    const WHAT: &str = "harness under ASan and UBSan";
    if !is_whole(WHAT) {
        return;
    }
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    for subject in SUBJECTS {
        let name = format!("harness-{subject}");
        let program = toolchain::build(subject, &name, &flags);
        let (succeeded, text) = run_subject(&[&leaks(subject)], &program, &name, &[]);
        assert!(succeeded, "{name}:\n{text}");
    }
    let program = toolchain::build("faulty", "harness-faulty", &flags);
    let (succeeded, text) = run_subject(&[&leaks("faulty")], &program, "harness-faulty", &["leak"]);
    assert!(!succeeded && text.contains("detected memory leaks"), "control:\n{text}");
    announce(&format!("FIGURE {WHAT}: {} subjects clean, control found", SUBJECTS.len()));
}

/// Some subjects under valgrind, with the library as it ships.
#[test]
fn valgrind() {
    const WHAT: &str = "valgrind";
    if !is_whole(WHAT) {
        return;
    }
    let mut version = Command::new("valgrind");
    version.arg("--version");
    if !succeeds(version) {
        did_not_run(WHAT, "valgrind is not there: install it");
        return;
    }
    let words = [
        "valgrind",
        "-q",
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite,indirect",
        "--fair-sched=yes",
    ];
    for (control, finding) in [("overflow", "Invalid read"), ("leak", "definitely lost")] {
        let program = toolchain::build("faulty", &format!("valgrind-{control}"), &[]);
        let (succeeded, text) = run_subject(&words, &program, &format!("valgrind-{control}"), &[control]);
        assert!(!succeeded && text.contains(finding), "control {control}:\n{text}");
    }
    for subject in SHORT_SUBJECTS {
        let name = format!("valgrind-{subject}");
        let program = toolchain::build(subject, &name, &[]);
        let (succeeded, text) = run_subject(&words, &program, &name, &[]);
        assert!(succeeded, "{name}:\n{text}");
    }
    announce(&format!("FIGURE {WHAT}: {} subjects clean, 2 controls found", SHORT_SUBJECTS.len()));
}
