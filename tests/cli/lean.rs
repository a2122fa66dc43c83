//! Nothing of the command is in the library.

use std::collections::BTreeSet;
use std::process::Command;

/// The crates that a build with these options links.
fn linked(options: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none"]).args(options);
    let output = tree.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn a_build_of_the_library_does_not_see_the_commands_crates() {
    let own = ["clap", "humantime", "serde", "serde_json", "signal-hook"];
    let of_export = ["arrow-array", "arrow-ipc", "parquet"];
    for options in [&[][..], &["--no-default-features"]] {
        let crates = linked(options);
        assert!(crates.contains("lz4_flex"), "the list is read");
        assert!(own.iter().chain(&of_export).all(|name| !crates.contains(*name)), "{options:?}: {crates:?}");
    }
    let with = linked(&["--features", "cli"]);
    assert!(own.iter().all(|name| with.contains(*name)), "control: {with:?}");
    assert!(of_export.iter().all(|name| !with.contains(*name)), "export is apart: {with:?}");
    assert!(of_export.iter().all(|name| linked(&["--features", "export"]).contains(*name)), "control");
}

/// The crates that the table below this heading of the notices names.
fn named_below(heading: &str) -> BTreeSet<String> {
    let notices = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/THIRD-PARTY-NOTICES")).unwrap();
    let section = notices.split(&format!("\n{heading}\n")).nth(1).unwrap();
    let table =
        section.lines().skip_while(|line| !line.starts_with("-----")).skip(1).take_while(|line| !line.is_empty());
    table.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_notices_name_the_commands_crates() {
    let steps = [("", ""), ("cli", "The command walrec"), ("export", "The command walrec with export")];
    let linked = steps.map(|(features, _)| linked(&["--features", features]));
    for (step, pair) in steps[1..].iter().zip(linked.windows(2)) {
        assert_eq!(named_below(step.1), pair[1].difference(&pair[0]).cloned().collect(), "{}", step.0);
    }
}
