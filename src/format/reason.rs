//! Why bytes were not accepted: one stable number and one sentence each.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal;)+) => {
        /// Why bytes were not accepted. The numbers are part of the C contract and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Reason { $($(#[doc = $doc])+ $name = $number,)+ }

        impl Reason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The sentence for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

reasons! {
    /// Nothing is wrong.
    None = 0, "nothing is wrong";
    /// Not a segment at all.
    Magic = 1, "the magic number is not a segment's";
    /// A format that this library does not know.
    Version = 2, "the format version or a flag is not known to this library";
    /// A header whose constants are not the format's.
    HeaderConstants = 3, "the header's constants are not the format's";
    /// A segment header whose checksum does not hold.
    HeaderChecksum = 4, "the segment header's checksum does not hold";
    /// A segment whose header names another index than its file.
    SegmentIndex = 5, "the segment header names another index than the file";
    /// A file that is no whole segment.
    FileSize = 6, "the file's size is not that of a segment";
    /// A sealed header that contradicts itself or its blocks.
    SealedCounts = 7, "the sealed header's counts, ids or chain value disagree with the blocks";
    /// A block header whose checksum does not hold.
    BlockHeaderChecksum = 8, "the block header's checksum does not hold";
    /// A block in another block's place.
    BlockIndex = 9, "the block's index is not its place";
    /// A block with an impossible number of events.
    EventCount = 10, "the block's event count is out of range";
    /// A block header whose ids are not those of its events.
    FirstLastId = 11, "the block's first or last id is not its events'";
    /// Events that do not increase.
    IdOrder = 12, "event ids do not increase";
    /// Events that are not what the block was finalized with.
    BlockChecksum = 13, "the block's checksum does not hold";
    /// A block that does not follow the one before it.
    ChainedChecksum = 14, "the chained checksum does not hold";
    /// A segment that does not follow the one before it.
    Link = 15, "the link to the segment before does not hold";
    /// An event of an open block without a good guard.
    Guard = 16, "an event's guard does not hold";
    /// Zeros where events must be.
    Hole = 17, "zeros stand where events must be";
    /// Events above unaccepted bytes, too far away to be one torn write.
    ValidAbove = 18, "valid events stand above bytes that do not verify";
    /// The log ends below what wal_meta.dat says is durable.
    BelowMeta = 19, "the log ends below the durable position of wal_meta.dat";
    /// An index without a file.
    MissingSegment = 20, "a segment is missing";
    /// A frozen segment that does not decode to what its header says.
    Frozen = 21, "the frozen segment does not decode to a whole segment";
    /// Bytes above the last event that are not zero.
    TailNotZero = 22, "bytes above the last event are not zero";
    /// A stage that does not continue the files.
    StageDisagrees = 23, "the stage does not continue the files";
    /// A file that the library refuses to trust: wrong kind, wrong links.
    FileKind = 24, "the file is not a regular file with one link";
    /// Both forms of a segment are there and neither verifies.
    BothForms = 25, "neither the segment nor its frozen form verifies";
    /// A recorded gap left by an earlier salvage.
    RecordedGap = 26, "a segment was set aside by an earlier salvage";
}

impl Reason {
    /// The stable number.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        self as u32
    }

    /// The sentence for any number.
    #[must_use]
    pub fn text_of(number: u32) -> &'static str {
        Self::ALL.iter().find(|reason| reason.as_u32() == number).map_or("unknown reason", |reason| reason.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_texts_differ() {
        for (place, reason) in (0..).zip(Reason::ALL) {
            assert_eq!(reason.as_u32(), place);
            assert_eq!(Reason::text_of(place), reason.text());
        }
        let mut texts: Vec<_> = Reason::ALL.iter().map(|reason| reason.text()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Reason::ALL.len());
        assert_eq!(Reason::text_of(u32::MAX), "unknown reason");
    }
}
