//! Names in a log directory, by strict grammar: `docs/FORMAT.md`, "Names in a log directory".

use std::fmt;

/// The 16-byte meta state.
pub const META_FILE: &str = "wal_meta.dat";
/// The meta state being written.
pub const META_TEMP_FILE: &str = "wal_meta.dat.tmp";
/// The log's identity.
pub const ID_FILE: &str = "walrec.id";
/// The log's identity being written.
pub const ID_TEMP_FILE: &str = "walrec.id.tmp";
/// Where the stage is.
pub const STAGE_FILE: &str = "walrec.stage";
/// Where the stage is, being written.
pub const STAGE_TEMP_FILE: &str = "walrec.stage.tmp";
/// The stage itself, when it had to fall back to the log directory.
pub const STAGE_DIRECTORY: &str = "stage";
/// What recovery set aside.
pub const QUARANTINE_DIRECTORY: &str = "quarantine";

/// Which of a segment's files a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentNameKind {
    /// `FS.%08u.wal`
    Hot,
    /// `FS.%08u.wal.lz4`
    Frozen,
    /// `FS.%08u.new`: being created.
    New,
    /// `FS.%08u.lz4.tmp`: being frozen.
    Freezing,
    /// `FS.%08u.del`: being retired.
    Retiring,
}

impl SegmentNameKind {
    const ALL: [Self; 5] = [Self::Hot, Self::Frozen, Self::New, Self::Freezing, Self::Retiring];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Hot => ".wal",
            Self::Frozen => ".wal.lz4",
            Self::New => ".new",
            Self::Freezing => ".lz4.tmp",
            Self::Retiring => ".del",
        }
    }

    /// Whether the file is a leftover that open removes.
    #[must_use]
    pub const fn is_leftover(self) -> bool {
        matches!(self, Self::New | Self::Freezing | Self::Retiring)
    }
}

/// The name of a segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentName {
    /// The segment's index.
    pub index: u32,
    /// Which of its files.
    pub kind: SegmentNameKind,
}

impl SegmentName {
    /// The name of `index`'s file of `kind`.
    #[must_use]
    pub const fn new(index: u32, kind: SegmentNameKind) -> Self {
        Self { index, kind }
    }

    /// The name in these bytes; `None` for anything that this library would not have written.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        let rest = name.strip_prefix(b"FS.")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, suffix) = rest.split_at(digits);
        let index = parse_index(number)?;
        let kind = SegmentNameKind::ALL.into_iter().find(|kind| kind.suffix().as_bytes() == suffix)?;
        Some(Self { index, kind })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "FS.{:08}{}", self.index, self.kind.suffix())
    }
}

/// The marker that lets later strict opens pass the gap that salvage left at `index`.
#[must_use]
pub fn lost_marker_name(index: u32) -> String {
    format!("FS.{index:08}.lost")
}

/// The index of a lost marker's name.
#[must_use]
pub fn parse_lost_marker(name: &[u8]) -> Option<u32> {
    parse_index(name.strip_prefix(b"FS.")?.strip_suffix(b".lost")?)
}

/// Eight digits, or nine or ten without a leading zero, within u32.
fn parse_index(digits: &[u8]) -> Option<u32> {
    if !(8..=10).contains(&digits.len()) || (digits.len() > 8 && digits[0] == b'0') {
        return None;
    }
    digits.iter().try_fold(0_u32, |index, &digit| {
        let value = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        index.checked_mul(10)?.checked_add(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_name_is_read_back() {
        for index in [0, 7, 99_999_999, 100_000_000, u32::MAX] {
            for kind in SegmentNameKind::ALL {
                let name = SegmentName::new(index, kind);
                assert_eq!(SegmentName::parse(name.to_string().as_bytes()), Some(name));
            }
            assert_eq!(parse_lost_marker(lost_marker_name(index).as_bytes()), Some(index));
        }
    }

    #[test]
    fn nothing_else_is_a_name() {
        for name in [
            "",
            "FS.",
            "FS.0000001.wal",
            "FS.000000001.wal",
            "FS.0100000000.wal",
            "FS.4294967296.wal",
            "FS.99999999999.wal",
            "fs.00000001.wal",
            "FS.00000001.WAL",
            "FS.00000001.wal ",
            " FS.00000001.wal",
            "FS.0000000a.wal",
            "FS.+0000001.wal",
            "FS.00000001.wal.lz4.tmp",
            "FS.00000001",
            "FS.00000001.lz4",
            "../FS.00000001.wal",
            "FS.00000001.wal/",
            "FS.-0000001.wal",
        ] {
            assert_eq!(SegmentName::parse(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(SegmentName::parse(b"FS.0000\xff\xff01.wal"), None);
        assert_eq!(parse_lost_marker(b"FS.1.lost"), None);
    }
}
