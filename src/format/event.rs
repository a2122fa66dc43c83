//! One event: 64 bytes.

use super::le;

/// Bytes of an event.
pub const EVENT_BYTES: usize = 64;

const _: () = assert!(size_of::<Event>() == EVENT_BYTES && align_of::<Event>() == 8);
const _: () = assert!(std::mem::offset_of!(Event, kind) == 40 && std::mem::offset_of!(Event, guard) == 60);

/// One order request, as the engine gives it and as it lies in the log (`docs/FORMAT.md`, "Event").
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Identity; strictly increasing through the whole log, never 0.
    pub event_id: u64,
    /// Nanoseconds, the engine's clock.
    pub timestamp_ns: u64,
    /// Scaled by the engine.
    pub price: i64,
    /// Scaled by the engine.
    pub quantity: i64,
    /// The engine's user.
    pub user_id: u32,
    /// The engine's order.
    pub order_id: u32,
    /// 0 new, 1 modify price, 2 modify quantity, 3 cancel; kept as given.
    pub kind: u8,
    /// 0 limit, 1 market; kept as given.
    pub order_type: u8,
    /// 0 bid, 1 ask; kept as given.
    pub side: u8,
    /// Kept as given.
    pub user_bytes: [u8; 17],
    /// Ignored on append; written by the flusher.
    pub guard: u32,
}

impl Event {
    /// The event in its 64 bytes of the log.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; EVENT_BYTES]) -> Self {
        Self {
            event_id: le::u64_at(bytes, 0),
            timestamp_ns: le::u64_at(bytes, 8),
            price: i64::from_le_bytes(le::array_at(bytes, 16)),
            quantity: i64::from_le_bytes(le::array_at(bytes, 24)),
            user_id: le::u32_at(bytes, 32),
            order_id: le::u32_at(bytes, 36),
            kind: bytes[40],
            order_type: bytes[41],
            side: bytes[42],
            user_bytes: le::array_at(bytes, 43),
            guard: le::u32_at(bytes, 60),
        }
    }

    /// Copies events from the 64 bytes of each; as many as there are in both.
    pub fn copy_from_bytes(events: &mut [Self], bytes: &[[u8; EVENT_BYTES]]) {
        copy::from_bytes(events, bytes);
    }

    /// The 64 bytes of the log that hold this event.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; EVENT_BYTES] {
        let mut bytes = [0; EVENT_BYTES];
        le::put(&mut bytes, 0, self.event_id.to_le_bytes());
        le::put(&mut bytes, 8, self.timestamp_ns.to_le_bytes());
        le::put(&mut bytes, 16, self.price.to_le_bytes());
        le::put(&mut bytes, 24, self.quantity.to_le_bytes());
        le::put(&mut bytes, 32, self.user_id.to_le_bytes());
        le::put(&mut bytes, 36, self.order_id.to_le_bytes());
        le::put(&mut bytes, 40, [self.kind, self.order_type, self.side]);
        le::put(&mut bytes, 43, self.user_bytes);
        le::put(&mut bytes, 60, self.guard.to_le_bytes());
        bytes
    }
}

mod copy {
    #![allow(unsafe_code, reason = "field by field it takes several times as long as the copy that it is")]

    use super::{EVENT_BYTES, Event};

    pub(super) fn from_bytes(events: &mut [Event], bytes: &[[u8; EVENT_BYTES]]) {
        let count = events.len().min(bytes.len());
        if cfg!(target_endian = "little") {
            let (from, to) = (bytes.as_ptr().cast::<u8>(), events.as_mut_ptr().cast::<u8>());
            // SAFETY: both hold `count` times 64 bytes, and one is borrowed mutably, so they do not overlap. An event is integers
            // without padding, whose places and order of bytes are those of the log: any 64 bytes are one.
            unsafe { std::ptr::copy_nonoverlapping(from, to, count * EVENT_BYTES) };
        } else {
            events.iter_mut().zip(bytes).for_each(|(event, bytes)| *event = Event::from_bytes(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Event {
        Event {
            event_id: 7,
            timestamp_ns: 8,
            price: -9,
            quantity: 10,
            user_id: 11,
            order_id: 12,
            kind: 3,
            order_type: 1,
            side: 1,
            user_bytes: *b"abcdefghijklmnopq",
            guard: 0x0403_0201,
        }
    }

    #[test]
    fn bytes_and_fields_are_one() {
        let bytes = sample().to_bytes();
        assert_eq!(Event::from_bytes(&bytes), sample());
        let mut events = [Event::default(); 3];
        Event::copy_from_bytes(&mut events, &[bytes; 2]);
        assert_eq!(events, [sample(), sample(), Event::default()]);
        assert_eq!((bytes[0], bytes[40], bytes[43], bytes[59], bytes[60]), (7, 3, b'a', b'q', 1));
    }
}
