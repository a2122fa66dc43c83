//! Negative controls of the independent decoder: it reads what is right, and each of its rules rejects what is wrong.
//! Nothing here names the library.

#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

#[path = "mod.rs"]
mod decoder;
mod encode;
mod encode_frozen;
mod frozen_controls;
mod golden_controls;
mod rule_controls;

use std::path::Path;

use decoder::crc32c::crc32c;
use decoder::fields::{block_header, event, segment_header};
use decoder::segment::xxh64;
use decoder::support::{TempDir, write_file};
use decoder::{Name, decode_log, judge_name};
use encode::{three_segments, write_log};

fn expect_fault<T>(name: &str, words: &str, result: Result<T, String>) {
    match result {
        Ok(_) => panic!("{name}: accepted"),
        Err(why) => assert!(why.contains(words), "{name}: rejected for another reason: {why}"),
    }
}

#[test]
fn checksums_give_the_published_check_values() {
    assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
    assert_eq!(crc32c(&[b"1234", b"", b"56789"]), 0xe306_9283);
    assert_eq!(crc32c(&[&[0; 32]]), 0x8a91_36aa); // RFC 3720, B.4
    assert_eq!(xxh64(b"", 0), 0xef46_db37_51d8_e999);
    assert_eq!(xxh64(b"abc", 0), 0x44bc_2cf5_ad77_0999);
}

#[test]
fn tables_cover_their_64_bytes_without_a_gap() {
    for (table, what) in [
        (&segment_header::ALL[..], "segment header"),
        (&block_header::ALL[..], "block header"),
        (&event::ALL[..], "event"),
    ] {
        let mut end = 0;
        for field in table {
            assert_eq!(field.off, end, "{what}: {}", field.name);
            end = field.end();
        }
        assert_eq!(end, 64, "{what}");
    }
}

#[test]
fn names_follow_the_strict_grammar() {
    for (name, is) in [
        ("FS.00000000.wal", Name::Hot(0)),
        ("FS.99999999.wal", Name::Hot(99_999_999)),
        ("FS.100000000.wal", Name::Hot(100_000_000)),
        ("FS.4294967295.wal.lz4", Name::Frozen(u32::MAX)),
        ("FS.4294967296.wal", Name::Foreign),
        ("FS.000000001.wal", Name::Foreign),
        ("FS.0000001.wal", Name::Foreign),
        ("FS.+0000001.wal", Name::Foreign),
        ("FS.00000001.WAL", Name::Foreign),
        ("FS.00000001.wal ", Name::Foreign),
        ("FS.00000001.wal.lz4.tmp", Name::Foreign),
        ("FS.00000001.lz4.tmp", Name::Leftover),
        ("FS.00000001.new", Name::Leftover),
        ("FS.00000001.del", Name::Leftover),
        ("FS.00000001", Name::Foreign),
        ("FS..wal", Name::Foreign),
        ("fs.00000001.wal", Name::Foreign),
        ("wal_meta.dat", Name::Meta),
        ("wal_meta.dat.tmp", Name::Leftover),
        ("wal.meta", Name::Foreign),
        ("walrec.id", Name::Id),
        ("walrec.stage", Name::Stage),
        ("quarantine", Name::Quarantine),
        ("LAST", Name::Foreign),
    ] {
        assert_eq!(judge_name(name), is, "{name}");
    }
}

#[test]
fn stage_line_and_identity_are_strict() {
    let id = "00112233445566778899aabbccddeeff";
    let boot = "01234567-89ab-cdef-0123-456789abcdef";
    let good = format!("open {id} {boot} /dev/shm/a stage\n");
    let filled = format!("{:511}\n", good.trim_end());
    for good in [&good, &filled] {
        let line = decoder::decode_stage_line(Path::new("/log"), good.as_bytes()).unwrap();
        assert!(line.open && line.stage_path == Path::new("/dev/shm/a stage"));
    }
    let own = decoder::decode_stage_line(Path::new("/log"), format!("closed {id} {boot} stage\n").as_bytes()).unwrap();
    assert!(!own.open && own.stage_path == Path::new("/log/stage"));
    for bad in [
        String::new(),
        good.trim_end().to_owned(),
        format!("opened {id} {boot} /s\n"),
        format!("open {} {boot} /s\n", &id[1..]),
        format!("open {id} {} /s\n", &boot[1..]),
        format!("open {id} {boot} s\n"),
        format!("open {id} {boot}\n"),
        format!("open {id} {boot} /s\n\n"),
        format!("open  {id} {boot} /s\n"),
    ] {
        decoder::decode_stage_line(Path::new("/log"), bad.as_bytes()).expect_err(&bad);
    }
    let dir = TempDir::new("id");
    write_log(dir.path(), &three_segments());
    for bad in ["", "00112233445566778899aabbccddeeff", "00112233445566778899aabbccddeefg\n", "0011\n"] {
        write_file(&dir.path().join("walrec.id"), bad.as_bytes());
        assert!(decode_log(dir.path()).unwrap_err().starts_with("walrec.id"));
    }
}
