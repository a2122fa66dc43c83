//! All the peers, in the order of the tables.

use crate::peer::Row;

#[cfg(feature = "aeron")]
mod aeron;
mod baselines;
#[cfg(feature = "crates")]
mod logs;
#[cfg(have_rocksdb)]
mod rocksdb;
#[cfg(have_spdlog)]
mod spdlog;
#[cfg(feature = "crates")]
mod stores;
mod walrec;

#[cfg(not(feature = "crates"))]
const NO_CRATES: &str = "built without the feature `crates`";

/// The rows; walrec's is the first.
pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::of::<walrec::Walrec>(),
        Row::of::<baselines::Buffered>(),
        Row::of::<baselines::Written>(),
        Row::of::<baselines::Direct>(),
        Row::of::<baselines::Mapped>(),
    ];
    #[cfg(feature = "crates")]
    rows.extend([
        Row::of::<logs::RaftEngine>(),
        Row::of::<logs::OkayWal>(),
        Row::of::<logs::OpenWal>(),
        Row::of::<logs::WalDb>(),
        Row::of::<logs::Walrus>(),
        Row::of::<stores::Lmdb>(),
        Row::of::<stores::Sqlite>(),
    ]);
    #[cfg(not(feature = "crates"))]
    rows.extend(
        ["raft-engine", "okaywal", "open-wal", "wal-db", "walrus-rust", "LMDB", "SQLite"]
            .map(|name| Row::absent(name, NO_CRATES)),
    );
    #[cfg(have_rocksdb)]
    rows.push(Row::of::<rocksdb::RocksDb>());
    #[cfg(not(have_rocksdb))]
    rows.push(Row::absent("RocksDB", "librocksdb-dev was not there when this was built"));
    #[cfg(have_spdlog)]
    rows.push(Row::of::<spdlog::Spdlog>());
    #[cfg(not(have_spdlog))]
    rows.push(Row::absent("spdlog", "libspdlog-dev was not there when this was built"));
    #[cfg(feature = "aeron")]
    rows.push(Row::of::<aeron::Aeron>());
    #[cfg(not(feature = "aeron"))]
    rows.push(Row::absent("Aeron IPC", "built without the feature `aeron`, which needs cmake 3.30 and libclang"));
    rows
}
