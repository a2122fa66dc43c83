//! The library's binary interface as its own debug information tells it, against the one of an earlier version: functions, their
//! parameters, and all that they lead to, compared by abidiff.
//!
//! The earlier version is the tag that WALREC_ABI_BASE names (`make abi-diff BASE=`), or the newest one; while there is none, the
//! library is compared with itself. Both are built without optimization and with full debug information, which says the same about
//! the interface and takes seconds. What docs/ABI.md keeps out of the interface, the insides of the two handles, is in
//! `abi_diff.abignore`.

#[path = "c/toolchain.rs"]
#[allow(dead_code, reason = "each crate that includes this uses its own part")]
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toolchain::{announce, is_there, project, run_tool};

/// What abidiff found, beside added functions, which are always allowed.
#[derive(Debug, PartialEq)]
enum Verdict {
    Same,
    Changed,
}

fn work() -> PathBuf {
    let directory = toolchain::build_directory().join("abi");
    fs::create_dir_all(&directory).expect("a directory");
    directory
}

/// Builds the library of a tree; the result is kept under this name.
fn build(tree: &Path, name: &str) -> PathBuf {
    // One of its own: cargo would take another tree's library, which has the same file name, for its own.
    let target = work().join("target").join(name);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustc", "--release", "--locked", "--lib", "--crate-type", "cdylib", "--target-dir"]).arg(&target);
    for (part, value) in
        [("LTO", "off"), ("OPT_LEVEL", "0"), ("CODEGEN_UNITS", "16"), ("DEBUG", "2"), ("STRIP", "none")]
    {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{part}"), value);
    }
    run_tool(cargo.current_dir(tree), "The library could not be built with debug information.");
    let kept = work().join(name).with_extension("so");
    fs::copy(target.join("release/libwalrec.so"), &kept).expect("the library was built");
    kept
}

fn compare(old: &Path, new: &Path) -> (Verdict, String) {
    let mut abidiff = Command::new("abidiff");
    abidiff.arg("--no-added-syms").arg("--fail-no-debug-info");
    abidiff.arg("--suppressions").arg(project().join("tests/abi_diff.abignore")).arg(old).arg(new);
    let output = abidiff.output().expect("abidiff runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // Bits: 1 failed, 2 wrong use, 4 changed, 8 incompatible.
    match output.status.code() {
        Some(0) => (Verdict::Same, said),
        Some(4 | 8 | 12) => (Verdict::Changed, said),
        code => panic!("abidiff failed with {code:?}: {said}"),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(project()).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}

/// The tree of the tag to compare with, with its name.
fn base() -> Option<(String, PathBuf)> {
    let named = std::env::var("WALREC_ABI_BASE").ok().filter(|name| !name.is_empty());
    let tag = named.or_else(|| git(&["describe", "--tags", "--abbrev=0"]).filter(|tag| !tag.is_empty()))?;
    let tree = work().join("base");
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir_all(&tree).expect("a directory");
    let archive = work().join("base.tar");
    let made = git(&["archive", "-o", archive.to_str().expect("UTF-8"), &tag]);
    assert!(made.is_some(), "git knows no {tag}");
    run_tool(Command::new("tar").arg("xf").arg(&archive).arg("-C").arg(&tree), "The tag could not be unpacked.");
    Some((tag, tree))
}

/// Major and minor of a tree: before 1.0 another minor version may be another interface.
fn series(tree: &Path) -> String {
    let manifest = fs::read_to_string(tree.join("Cargo.toml")).expect("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = \"")).expect("a version");
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// A copy of the sources in which a struct and a function are not what they were.
fn changed_tree() -> PathBuf {
    let tree = work().join("changed");
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir_all(tree.join("tests/cli")).expect("a directory");
    fs::create_dir_all(tree.join("benches")).expect("a directory");
    for part in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "benches/cold.rs", "tests/cli/main.rs"] {
        run_tool(Command::new("cp").arg("-r").arg(project().join(part)).arg(tree.join(part)), "Sources are copied.");
    }
    for (file, part, instead) in [
        ("src/ffi/types.rs", "pub last_segment_index:", "pub last_place:"),
        ("src/ffi/types.rs", "pub last_offset:", "pub last_segment_index:"),
        ("src/ffi/types.rs", "pub last_place:", "pub last_offset:"),
        (
            "src/ffi/append.rs",
            "#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn walrec_rotate",
            "pub unsafe extern \"C\" fn walrec_rotate",
        ),
    ] {
        let path = tree.join(file);
        let text = fs::read_to_string(&path).expect("a source");
        assert_eq!(text.matches(part).count(), 1, "{part}");
        fs::write(&path, text.replace(part, instead)).expect("a source");
    }
    tree
}

#[test]
fn against_the_version_before() {
    if !is_there("abidiff") {
        announce("SKIP abi_diff: DID NOT RUN: abidiff is not here (Debian: abigail-tools)");
        return;
    }
    let now = build(&project(), "now");
    let base = base();
    let what = match &base {
        None => {
            assert_eq!(compare(&now, &now).0, Verdict::Same, "the library against itself");
            "NO TAG to compare with, so the library was compared with ITSELF".to_owned()
        }
        Some((tag, tree)) => {
            let (verdict, said) = compare(&build(tree, "base"), &now);
            announce(&said);
            let free = series(tree) != series(&project());
            assert!(
                verdict == Verdict::Same || free,
                "the interface is not that of {tag}, and the minor version is the same; see docs/ABI.md\n{said}"
            );
            format!("compared with {tag}: {verdict:?}")
        }
    };

    let (verdict, said) = compare(&now, &build(&changed_tree(), "changed"));
    assert_eq!(verdict, Verdict::Changed);
    for seen in ["'function i32 walrec::ffi::append::walrec_rotate(", "'u32 last_offset' offset changed"] {
        assert!(said.contains(seen), "{seen} is not in what abidiff says of the control:\n{said}");
    }
    announce(&format!("FIGURE abi_diff: {what}; a removed function and fields that changed places are seen"));
}
