//! `tests/c/poison.c`, with one sync of each worker failing.

use super::stand::Stand;
use super::toolchain;

/// Whose sync it is, and which.
const SYNCS: [(&str, &str); 7] = [
    ("walrec-flush", "fdatasync log/FS.00000000.wal 1"),
    ("walrec-flush", "fdatasync log/FS.00000001.wal 2"),
    ("walrec-prepare", "fdatasync log/FS.00000006.new 1"),
    ("walrec-prepare", "fsync log 12"),
    ("walrec-maint", "fdatasync log/FS.00000000.wal 3"),
    ("walrec-meta", "fdatasync log/wal_meta.dat.tmp 2"),
    ("walrec-meta", "fdatasync log/wal_meta.dat.tmp 3"),
];

#[test]
fn poisoning_is_seen_from_everywhere() {
    let stand = Stand::new("poison");
    let program = toolchain::build("poison", "poison", &[]);
    for (number, (worker, sync)) in SYNCS.iter().enumerate() {
        let end = if number % 2 == 0 { "close" } else { "shutdown" };
        let fault = format!("{sync} once EIO");
        let outcome = stand.run_subject(&program, end, &fault);
        assert!(outcome.status.success(), "WALREC_FAULT={fault:?}: {}\n{}", outcome.status, outcome.text);
        let cause = outcome.text.lines().find_map(|line| line.strip_prefix("cause: ")).unwrap_or_default();
        assert!(cause.starts_with(worker) || sync.starts_with("fsync"), "{fault}: not {worker}'s: {cause}");
    }
    toolchain::announce(&format!(
        "FIGURE poison: {} failed syncs of four workers, each seen from everywhere",
        SYNCS.len()
    ));
}
