//! `wal_meta.dat`: the durable position at some moment.

use super::le;

/// Bytes of the meta state.
pub const META_BYTES: usize = 16;

/// A position in the log. Only `last_event_id` may be compared with anything; the place is a hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaPosition {
    /// Segment of the last event.
    pub segment_index: u32,
    /// Byte after the last event's slot.
    pub offset: u32,
    /// 0 when nothing is known.
    pub last_event_id: u64,
}

impl MetaPosition {
    /// The position in the file's bytes; `None` when they are too few.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; META_BYTES] = bytes.get(..META_BYTES)?.try_into().ok()?;
        Some(Self {
            offset: le::u32_at(bytes, 0),
            segment_index: le::u32_at(bytes, 4),
            last_event_id: le::u64_at(bytes, 8),
        })
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; META_BYTES] {
        let mut bytes = [0; META_BYTES];
        le::put(&mut bytes, 0, self.offset.to_le_bytes());
        le::put(&mut bytes, 4, self.segment_index.to_le_bytes());
        le::put(&mut bytes, 8, self.last_event_id.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_comes_first_in_the_file() {
        let position = MetaPosition { segment_index: 2, offset: 0x0004_0440, last_event_id: 12_288 };
        let bytes = [0x40, 4, 4, 0, 2, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0];
        assert_eq!(position.to_bytes(), bytes);
        assert_eq!(MetaPosition::from_bytes(&bytes), Some(position));
        assert_eq!(MetaPosition::from_bytes(&bytes[..15]), None);
    }
}
