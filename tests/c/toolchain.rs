//! Builds and runs C programs against the release library; shared by the tests that need it.
//!
//! The library is built once in each test process. Programs find it at run time by the name in its SONAME, in a
//! directory of their own under `target`.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How the documentation says that C programs are compiled, and as strictly as the compiler can.
const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// The project's directory.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn target_directory() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    if given.is_absolute() { given } else { project().join(given) }
}

/// Where programs and their work directories lie.
pub fn build_directory() -> PathBuf {
    target_directory().join("tests-c")
}

/// The directory of the release library, built on first use.
///
/// WALREC_LIBRARY_DIR names another one, that is not built: for a library with sanitizers, or an installed one.
pub fn library_directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = std::env::var_os("WALREC_LIBRARY_DIR").map_or_else(build_library, PathBuf::from);
        let library = directory.join("libwalrec.so");
        assert!(library.is_file(), "{} is missing", library.display());
        let build = build_directory();
        fs::create_dir_all(&build).unwrap_or_else(|error| panic!("{}: {error}", build.display()));
        // The loader looks for the SONAME. Made under another name first: another test may be running.
        let link = build.join("libwalrec.so.0");
        let fresh = build.join(format!("libwalrec.so.0.{}", std::process::id()));
        let _ = fs::remove_file(&fresh);
        std::os::unix::fs::symlink(&library, &fresh).unwrap_or_else(|error| panic!("{}: {error}", fresh.display()));
        fs::rename(&fresh, &link).unwrap_or_else(|error| panic!("{}: {error}", link.display()));
        directory
    })
}

fn build_library() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--lib"]).current_dir(project());
    run_tool(&mut cargo, "The release library could not be built.");
    target_directory().join("release")
}

/// Runs a tool to its end; panics with its output, or with `advice` when it is not there.
pub fn run_tool(command: &mut Command, advice: &str) -> String {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{shown}: {error}\n{advice}"));
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}: {}\n{text}\n{advice}", output.status);
    text
}

/// Compiles one file strictly; `language` is a standard like c99 or c++17.
pub fn compile(language: &str, source: &Path, arguments: &[&str]) {
    let (variable, default, package) =
        if language.contains("++") { ("CXX", "c++", "g++") } else { ("CC", "cc", "gcc") };
    let compiler = std::env::var(variable).unwrap_or_else(|_| default.into());
    let advice = format!(
        "The tests of the C interface need a compiler: install {package}, or name one in {variable}. They are never skipped."
    );
    compile_by(&compiler, language, source, arguments, &advice);
}

/// As [`compile`], by another compiler, that [`is_there`].
pub fn compile_with(compiler: &str, language: &str, source: &Path, arguments: &[&str]) {
    compile_by(compiler, language, source, arguments, "");
}

/// Whether a program can be run.
pub fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn compile_by(compiler: &str, language: &str, source: &Path, arguments: &[&str], advice: &str) {
    let mut command = Command::new(compiler);
    command.arg(format!("-std={language}")).args(STRICT).arg("-I").arg(project().join("include"));
    command.arg(source).args(arguments);
    run_tool(&mut command, advice);
}

/// Compiles `tests/c/<subject>.c` to a program called `name`, linked with the shared library. Two tests must not share a
/// name: they run at once.
pub fn build(subject: &str, name: &str, arguments: &[&str]) -> PathBuf {
    let library = library_directory().join("libwalrec.so");
    let program = build_directory().join(name);
    link(subject, &program, &[&library.display().to_string(), &rpath()], arguments);
    program
}

/// The linker's option by which a program finds the library.
pub fn rpath() -> String {
    format!("-Wl,-rpath,{}", build_directory().display())
}

/// Compiles `tests/c/<subject>.c` to `program`, linked with `libraries`.
pub fn link(subject: &str, program: &Path, libraries: &[&str], arguments: &[&str]) {
    let source = project().join("tests/c").join(format!("{subject}.c"));
    let output = program.display().to_string();
    let mut all = vec!["-D_GNU_SOURCE", "-O1", "-g", "-o", &output];
    all.extend(arguments);
    all.extend(libraries);
    all.push("-pthread");
    compile("c99", &source, &all);
}

/// How a program ended, and all it printed.
#[derive(Debug)]
pub struct Outcome {
    /// Its end.
    pub status: ExitStatus,
    /// Standard output and error, in the order written.
    pub text: String,
}

/// Runs a program to its end, or kills it at the limit. Its output goes through a file: a pipe could be held open by a
/// child of it.
pub fn run(program: &Path, arguments: &[&Path], output: &Path, limit: Duration) -> Outcome {
    run_command(Command::new(program).args(arguments), output, limit)
}

/// As [`run`], with more than arguments to it.
pub fn run_command(command: &mut Command, output: &Path, limit: Duration) -> Outcome {
    let program = PathBuf::from(command.get_program());
    let fail = |what: &str, error: std::io::Error| -> ! { panic!("{}: {what}: {error}", program.display()) };
    let file = File::create(output).unwrap_or_else(|error| fail("create the output file", error));
    let same = file.try_clone().unwrap_or_else(|error| fail("share the output file", error));
    let mut child =
        command.stdin(Stdio::null()).stdout(file).stderr(same).spawn().unwrap_or_else(|error| fail("start", error));
    let begin = Instant::now();
    let mut late = false;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => fail("wait", error),
        }
        if !late && begin.elapsed() > limit {
            late = true;
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut text = String::from_utf8_lossy(&fs::read(output).unwrap_or_default()).into_owned();
    if late {
        text.push_str("\nkilled by the harness: it did not end in its time\n");
    } else if status.signal().is_some() {
        text.push_str("\nended by a signal; 14 is its own time limit\n");
    }
    Outcome { status, text }
}

/// Prints to the terminal also when the test passes, where the harness keeps the rest: figures and skipped parts.
pub fn announce(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(format!("{text}\n").as_bytes());
}

/// A fresh, empty directory: below the build directory, or in shared memory.
pub fn fresh_directory(name: &str, in_shared_memory: bool) -> PathBuf {
    let parent = if in_shared_memory { PathBuf::from("/dev/shm") } else { build_directory().join("work") };
    let directory = parent.join(format!("walrec-test-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    directory
}
