//! The tables of FORMAT.md, "Segment header", "Block header" and "Event": the decoder reads through these rows and
//! nothing else, so that an offset stands in one place and can be compared with the document and with the library.

/// One row of a table: `| off | size | field |`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub off: usize,
    pub size: usize,
    pub name: &'static str,
}

const fn row(off: usize, size: usize, name: &'static str) -> Field {
    Field { off, size, name }
}

impl Field {
    /// The little-endian integer of this row in `structure`.
    pub fn of(self, structure: &[u8]) -> u64 {
        assert!(self.size <= 8, "{} is no integer", self.name);
        structure[self.off..self.off + self.size].iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte))
    }

    /// Stores a little-endian integer into this row of `structure`.
    pub fn put(self, structure: &mut [u8], value: u64) {
        structure[self.off..self.off + self.size].copy_from_slice(&value.to_le_bytes()[..self.size]);
    }

    /// The bytes from the start of the structure to the end of this row.
    pub const fn end(self) -> usize {
        self.off + self.size
    }
}

pub mod segment_header {
    use super::{Field, row};
    pub const MAGIC: Field = row(0, 2, "magic");
    pub const VERSION: Field = row(2, 1, "version");
    pub const HEADER_SIZE: Field = row(3, 1, "header_size");
    pub const SEGMENT_INDEX: Field = row(4, 4, "segment_index");
    pub const BLOCK_COUNT: Field = row(8, 4, "block_count");
    pub const EVENT_COUNT: Field = row(12, 4, "event_count");
    pub const FIRST_EVENT_ID: Field = row(16, 8, "first_event_id");
    pub const LAST_EVENT_ID: Field = row(24, 8, "last_event_id");
    pub const CREATED_TS_NS: Field = row(32, 8, "created_ts_ns");
    pub const CLOSED_TS_NS: Field = row(40, 8, "closed_ts_ns");
    pub const CHECKSUM: Field = row(48, 8, "checksum");
    pub const LAST_CHAINED_CHECKSUM: Field = row(56, 8, "last_chained_checksum");
    pub const ALL: [Field; 12] = [
        MAGIC,
        VERSION,
        HEADER_SIZE,
        SEGMENT_INDEX,
        BLOCK_COUNT,
        EVENT_COUNT,
        FIRST_EVENT_ID,
        LAST_EVENT_ID,
        CREATED_TS_NS,
        CLOSED_TS_NS,
        CHECKSUM,
        LAST_CHAINED_CHECKSUM,
    ];
}

pub mod block_header {
    use super::{Field, row};
    pub const FIRST_EVENT_ID: Field = row(0, 8, "first_event_id");
    pub const LAST_EVENT_ID: Field = row(8, 8, "last_event_id");
    pub const BLOCK_CHECKSUM: Field = row(16, 8, "block_checksum");
    pub const CHAINED_CHECKSUM: Field = row(24, 8, "chained_checksum");
    pub const CHECKSUM: Field = row(32, 8, "checksum");
    pub const BLOCK_INDEX: Field = row(40, 4, "block_index");
    pub const EVENT_COUNT: Field = row(44, 2, "event_count");
    pub const FLAGS: Field = row(46, 2, "flags");
    /// The document names it by its content: the previous segment's chain value.
    pub const LINK: Field = row(48, 8, "link");
    /// Always 0.
    pub const RESERVED: Field = row(56, 8, "reserved");
    pub const ALL: [Field; 10] = [
        FIRST_EVENT_ID,
        LAST_EVENT_ID,
        BLOCK_CHECKSUM,
        CHAINED_CHECKSUM,
        CHECKSUM,
        BLOCK_INDEX,
        EVENT_COUNT,
        FLAGS,
        LINK,
        RESERVED,
    ];
}

pub mod event {
    use super::{Field, row};
    pub const EVENT_ID: Field = row(0, 8, "event_id");
    pub const TIMESTAMP_NS: Field = row(8, 8, "timestamp_ns");
    pub const PRICE: Field = row(16, 8, "price");
    pub const QUANTITY: Field = row(24, 8, "quantity");
    pub const USER_ID: Field = row(32, 4, "user_id");
    pub const ORDER_ID: Field = row(36, 4, "order_id");
    pub const TYPE: Field = row(40, 1, "type");
    pub const ORDER_TYPE: Field = row(41, 1, "order_type");
    pub const SIDE: Field = row(42, 1, "side");
    pub const USER_BYTES: Field = row(43, 17, "user bytes");
    pub const GUARD: Field = row(60, 4, "guard");
    pub const ALL: [Field; 11] =
        [EVENT_ID, TIMESTAMP_NS, PRICE, QUANTITY, USER_ID, ORDER_ID, TYPE, ORDER_TYPE, SIDE, USER_BYTES, GUARD];
}
