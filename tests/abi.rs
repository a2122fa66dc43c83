//! The binary interface: every struct of the header lies as `tests/abi_layouts.txt` says. The exported names are in
//! `exported_symbols.txt`, the numbers in `header.rs`; the policy is in `docs/ABI.md`.

#[path = "c/toolchain.rs"]
#[allow(dead_code, reason = "each crate that includes this uses its own part")]
mod toolchain;

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use toolchain::{announce, project, run_tool};

/// Structs of a header with the names of their fields.
fn structs(header: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut lines = header.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("typedef struct ").and_then(|rest| rest.strip_suffix(" {")) else {
            continue;
        };
        let mut fields = Vec::new();
        for line in lines.by_ref().take_while(|line| !line.starts_with('}')) {
            let line = line.trim();
            let Some(declared) = line.strip_suffix(';').filter(|_| !line.starts_with(['*', '/'])) else { continue };
            // A function's pointer is `void (*name)(...)`, an array `type name[n]`.
            let named = match declared.split_once("(*") {
                Some((_, rest)) => rest.split(')').next(),
                None => declared.split('[').next().and_then(|left| left.rsplit([' ', '*']).next()),
            };
            fields.push(named.expect("a field has a name").to_owned());
        }
        found.push((name.to_owned(), fields));
    }
    found
}

/// Size, alignment and each field's offset and size, as the C compiler lays them out.
fn layouts(name: &str, header: &str) -> String {
    let mut program = String::from("#include \"walrec.h\"\n#include <stdio.h>\nint main(void)\n{\n");
    for (name, fields) in structs(header) {
        writeln!(program, "    printf(\"{name}: %zu bytes, aligned to %zu\\n\", sizeof({name}), _Alignof({name}));")
            .expect("a String takes all");
        for field in fields {
            writeln!(
                program,
                "    printf(\"  %5zu %5zu  {field}\\n\", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));"
            )
            .expect("a String takes all");
        }
    }
    program.push_str("    return 0;\n}\n");
    let directory = toolchain::fresh_directory(name, false);
    let (source, binary) = (directory.join("layouts.c"), directory.join("layouts"));
    fs::write(&source, program).expect("a file");
    toolchain::compile("c11", &source, &["-o", binary.to_str().expect("UTF-8")]);
    let printed = run_tool(&mut Command::new(&binary), "It prints layouts.");
    let _ = fs::remove_dir_all(&directory);
    printed
}

fn header() -> String {
    fs::read_to_string(project().join("include/walrec.h")).expect("the header")
}

#[test]
fn structs_lie_as_the_list_says() {
    let kept = fs::read_to_string(project().join("tests/abi_layouts.txt")).unwrap_or_default();
    let now = layouts("abi", &header());
    let differs = kept.lines().zip(now.lines()).find(|(kept, now)| kept != now);
    assert!(
        kept == now,
        "a layout changed, or a field is new: {differs:?}. If docs/ABI.md allows it, tests/abi_layouts.txt is to be:\n{now}"
    );
    let structs = structs(&header()).len();
    assert!(structs >= 8, "the header has {structs} structs only: they are not found any more");
    announce(&format!("FIGURE abi: {structs} structs, {} fields as listed", now.lines().count() - structs));
}

#[test]
fn a_field_that_moved_is_seen() {
    let moved = "typedef struct walrec_meta_state_t {\n    uint64_t last_event_id;\n    uint32_t last_offset;\n} x;\n";
    assert_eq!(structs(moved)[0].1, ["last_event_id", "last_offset"]);
    let kept = fs::read_to_string(project().join("tests/abi_layouts.txt")).unwrap_or_default();
    assert!(!kept.contains(&layouts("abi-moved", moved)));
}
