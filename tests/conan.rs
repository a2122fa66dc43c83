//! The Conan recipe: `conan create` builds the library from this tree, packages it, and its test package builds and runs the
//! programs of `tests/install` with it.
//!
//! Conan comes from PyPI into `target/tools/conan` and keeps everything it knows below `target/conan`, so that nobody's own
//! Conan is touched. The library is built in a hurry, without LTO, unless WALREC_CONAN is set: `make conan` sets it.

#[path = "c/toolchain.rs"]
#[allow(dead_code, reason = "each crate that includes this uses its own part")]
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toolchain::{announce, is_there, project, run_tool};

const ADVICE: &str = "The Conan package could not be made or used.";

fn target() -> PathBuf {
    toolchain::build_directory().parent().expect("it is below target").to_owned()
}

/// Conan, installed where it is not there yet; says so if that cannot be.
fn conan() -> Option<PathBuf> {
    let tools = target().join("tools/conan");
    let program = tools.join("bin/conan");
    let works = |program: &Path| program.to_str().is_some_and(is_there);
    if works(&program) {
        return Some(program);
    }
    let steps: [(PathBuf, &[&str]); 2] = [
        ("python3".into(), &["-m", "venv", tools.to_str().expect("UTF-8")]),
        (tools.join("bin/pip"), &["install", "-q", "--retries=1", "conan>=2.0,<3"]),
    ];
    for (program, arguments) in steps {
        let said = match Command::new(program).args(arguments).output() {
            Ok(output) if output.status.success() => continue,
            Ok(output) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
            Err(error) => error.to_string(),
        };
        announce(&format!(
            "SKIP conan: DID NOT RUN: Conan could not be installed from PyPI (it needs python3, python3-venv and the network):\n{said}"
        ));
        return None;
    }
    assert!(works(&program), "{} does not run", program.display());
    Some(program)
}

/// A Conan that knows of this directory alone.
fn command(conan: &Path, home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(conan);
    command.args(arguments).current_dir(project()).env("CONAN_HOME", home).env_remove("CARGO_TARGET_DIR");
    // A make that runs these tests passes its own settings on.
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    if std::env::var_os("WALREC_CONAN").is_none() {
        for (part, value) in [("LTO", "off"), ("OPT_LEVEL", "1"), ("CODEGEN_UNITS", "16"), ("DEBUG", "false")] {
            command.env(format!("CARGO_PROFILE_RELEASE_{part}"), value);
        }
    }
    command
}

#[test]
fn created_and_consumed() {
    if !is_there("cmake") {
        announce("SKIP conan: DID NOT RUN: cmake is not here");
        return;
    }
    let Some(conan) = conan() else { return };
    let home = target().join("conan/home");
    let _ = fs::remove_dir_all(&home);
    let run = |arguments: &[&str]| run_tool(&mut command(&conan, &home, arguments), ADVICE);
    run(&["profile", "detect"]);
    let said = run(&["create", "packaging/conan", "--no-remote"]);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(said.matches(&format!("walrec {version}: 1000 events")).count(), 4, "{said}");

    // What our own CMake package says is what the consumers found: without it they find nothing.
    let found = run_tool(Command::new("find").arg(&home).args(["-name", "walrec-config.cmake"]), ADVICE);
    let config = Path::new(found.trim());
    assert!(config.is_file(), "one package: {found}");
    let files = run_tool(Command::new("find").arg(config.ancestors().nth(4).expect("a package")), ADVICE);
    for file in ["include/walrec.hpp", "lib/libwalrec.a", "licenses/THIRD-PARTY-NOTICES", "lib/libwalrec.so.0"] {
        assert!(files.lines().any(|line| line.ends_with(file)), "{file}: {files}");
    }
    fs::remove_file(config).expect("the file is there");
    let reference = format!("walrec/{version}");
    let mut again = command(&conan, &home, &["test", "packaging/conan/test_package", &reference, "--no-remote"]);
    let output = again.output().expect("conan runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("walrec-config.cmake"), "{said}");

    let conan = run_tool(Command::new(&conan).arg("--version"), ADVICE);
    announce(&format!("FIGURE conan: {}: created, 4 programs built by CMake and run", conan.trim()));
    let _ = fs::remove_dir_all(target().join("conan"));
}
