//! The pages of docs/: every one is in the index, every line of their shell blocks runs and ends in the exit code that it says, and the
//! sizes that they name are those of the format.
//!
//! A line ends in 0 unless a comment behind it says `exit code 1`, or `exit code 0 or 1`. The lines of a page run in one shell, in a
//! directory with `orders.log`, `damaged.log` and `live.log`, a home of its own, and a `make` that installs for real what is built and
//! for everything else asks the Makefile what it would do.

#[path = "../c/toolchain.rs"]
#[allow(dead_code, reason = "each crate that includes this uses its own part")]
mod toolchain;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use walrec::format::{Geometry, PAGE_BYTES};
use walrec::recorder::Config;

use crate::ground::Ground;
use crate::page::{project, with_logs};

const MAKE: &str = r#"#!/bin/bash
set -eu
unset MAKEFLAGS MFLAGS MAKELEVEL
for word in "$@"; do case $word in PREFIX=*) export PREFIX=${word#PREFIX=};; esac; done
if [[ $1 == install ]]; then
    LIBDIR=$PREFIX/lib INCLUDEDIR=$PREFIX/include DESTDIR= STRIP=cat exec "$PROJECT/packaging/install.sh"
fi
exec make -n -C "$PROJECT" "$@" >/dev/null
"#;

/// The pages, by name.
fn pages() -> Vec<(String, String)> {
    let entries = fs::read_dir(project("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = entries.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut pages: Vec<_> = pages
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    pages.sort();
    pages
}

/// The lines of the shell blocks, each with the exit codes that it may end in.
fn commands(page: &str) -> Vec<(String, Vec<i32>)> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```").map(|(block, _)| block));
    let lines = blocks.flat_map(str::lines).filter(|line| !line.is_empty());
    let codes = |line: &str| {
        let told = line.split_once("# exit code ").map_or("0", |(_, told)| told);
        told.split(" or ").map(|code| code.parse().unwrap()).collect()
    };
    lines.map(|line| (line.to_owned(), codes(line))).collect()
}

/// What a shell says that runs the lines one after another, until one ends otherwise than it says.
fn run(lines: &[(String, Vec<i32>)], folder: &Path, path: &str) -> Result<String, String> {
    let mut script = String::new();
    for (line, codes) in lines {
        let codes = codes.iter().map(|code| format!("{code})")).collect::<Vec<_>>().join(" ;; ");
        script += &format!(
            "echo '$ '{}\n{line}\ncode=$?\ncase $code in {codes} ;; *) echo \"ended in $code\"; exit 99 ;; esac\n",
            quoted(line)
        );
    }
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("exec 2>&1\n{script}")]).current_dir(folder).stdin(Stdio::null());
    shell.env("PATH", path).env("HOME", folder).env("PROJECT", project(""));
    shell.env("RELEASE", toolchain::library_directory()).env("COMMAND", env!("CARGO_BIN_EXE_walrec"));
    let output = shell.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

fn quoted(line: &str) -> String {
    format!("'{}'", line.replace('\'', "'\\''"))
}

#[test]
fn the_lines_of_the_pages_run() {
    let ground = Ground::new("book");
    let programs = ground.empty("programs");
    fs::write(programs.join("make"), MAKE.replace("exec make -n", &format!("exec {} -n", which_make()))).unwrap();
    fs::set_permissions(programs.join("make"), fs::Permissions::from_mode(0o755)).unwrap();
    let built = Path::new(env!("CARGO_BIN_EXE_walrec")).parent().unwrap();
    let path = format!("{}:{}:{}", programs.display(), built.display(), std::env::var("PATH").unwrap_or_default());
    let mut count = 0;
    for (name, page) in pages() {
        let lines = commands(&page);
        if lines.is_empty() {
            continue;
        }
        let place = Ground::new(&format!("book-{name}"));
        std::os::unix::fs::symlink(project("examples-c"), place.log("examples-c")).unwrap();
        with_logs(&place, |folder| {
            if let Err(said) = run(&lines, folder, &path) {
                panic!("docs/{name}: a line does not do what it says:\n{said}");
            }
        });
        count += lines.len();
    }
    println!("FIGURE book: {count} lines of shell run");
    assert!(count >= 25, "the blocks are found");
    let wrong =
        "```sh\ntrue\nwalrec verify nothing # exit code 1\ntouch reached\n```\n```sh\nmake no-such-target\n```\n";
    let (lines, folder) = (commands(wrong), ground.path());
    assert_eq!(lines.iter().map(|line| line.1[0]).collect::<Vec<_>>(), [0, 1, 0, 0]);
    let said = run(&lines, folder, &path).unwrap_err();
    assert!(said.ends_with("ended in 3\n") && !folder.join("reached").exists(), "control: {said}");
    assert!(run(&lines[3..], folder, &path).is_err(), "control: a target that is not there");
}

/// The `make` that there is.
fn which_make() -> String {
    let output = Command::new("sh").args(["-c", "command -v make"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Pages that the index does not name once, and names without a page.
fn index_faults(index: &str, names: &[&str]) -> Vec<String> {
    let listed: Vec<&str> = index.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let missing = names.iter().filter(|name| listed.iter().filter(|one| one == name).count() != 1);
    let unknown = listed.iter().filter(|one| !names.contains(one));
    missing.chain(unknown).map(|name| (*name).to_owned()).collect()
}

#[test]
fn every_page_is_in_the_index() {
    let pages = pages();
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "SUMMARY.md").collect();
    let index = &pages.iter().find(|(name, _)| name == "SUMMARY.md").unwrap().1;
    assert_eq!(index_faults(index, &names), Vec::<String>::new());
    assert_eq!(index_faults("- [a](A.md)\n- [b](B.md)\n- [a](A.md)\n", &["A.md", "C.md"]), ["A.md", "C.md", "B.md"]);
}

/// A row of the table of sizes, as it should stand.
fn size_row(num_blocks: u32) -> String {
    let geometry = Geometry::new(num_blocks).unwrap();
    let slots = u64::from(Config::default().stage_slots);
    let pool = slots * (PAGE_BYTES + geometry.padded_bytes()) as u64;
    let events = u64::from(num_blocks) * 256;
    let grouped = |number: u64| {
        let text = number.to_string();
        let groups: Vec<&str> =
            text.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
        groups.join(",")
    };
    let tenths = |bytes: u64| format!("{}.{}", grouped((bytes + 50_000) / 1_000_000), (bytes + 50_000) / 100_000 % 10);
    let hundredths = |rate: u64| {
        let time = ((slots - 1) * events * 200 / rate).div_ceil(2);
        format!("{}.{:02}", time / 100, time % 100)
    };
    format!(
        "| {} | {} | {} MB | {} MB | {} s | {} s |",
        grouped(num_blocks.into()),
        grouped(events),
        tenths(geometry.segment_bytes() as u64),
        tenths(pool),
        hundredths(100_000),
        hundredths(1_000_000)
    )
}

#[test]
fn the_sizes_of_the_page_are_the_formats() {
    let page = fs::read_to_string(project("docs/SIZES.md")).unwrap();
    for num_blocks in [64, 512, 4_096, 32_768] {
        let row = size_row(num_blocks);
        assert!(page.lines().any(|line| line == row), "docs/SIZES.md should have:\n{row}");
    }
    assert!(!page.contains(&size_row(128)), "control");
}
