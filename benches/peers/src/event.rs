//! The events that every peer is given: walrec's 64 bytes, one sequence for all of them.

/// One event in walrec's layout.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Event {
    /// 1, 2, 3 and so on.
    pub event_id: u64,
    timestamp_ns: u64,
    price: i64,
    quantity: i64,
    user_id: u32,
    order_id: u32,
    /// Type, order type, side, the user's bytes.
    rest: [u8; 20],
    guard: u32,
}

/// Of one event.
pub const BYTES: usize = size_of::<Event>();
const _: () = assert!(BYTES == 64);
const FIRST_TIMESTAMP_NS: u64 = 1_700_000_000_000_000_000;

impl Event {
    /// What the peers store.
    #[inline(always)]
    pub fn bytes(&self) -> &[u8; BYTES] {
        // SAFETY: 64 bytes of integers without padding, borrowed for as long as the event.
        unsafe { &*std::ptr::from_ref(self).cast() }
    }
}

/// Gives the events in order. Built beforehand: only the id and the time change from one to the next, so that what is timed is
/// the peer and not the filling.
pub struct Sequence(Event);

impl Sequence {
    /// Before the first event.
    pub fn new() -> Self {
        Self(Event {
            event_id: 0,
            timestamp_ns: FIRST_TIMESTAMP_NS,
            price: 1_234_500,
            quantity: 100,
            user_id: 7,
            order_id: 42,
            rest: [0x5a; 20],
            guard: 0,
        })
    }

    /// The next event.
    #[inline(always)]
    pub fn advance(&mut self) -> &Event {
        self.0.event_id += 1;
        self.0.timestamp_ns += 1_000;
        &self.0
    }
}

/// Compares what a peer gives back with the sequence: how far it is whole.
pub struct Comparison {
    expected: Sequence,
    /// Events from the first on that are there, in order and as they were given.
    pub whole: u64,
    /// Records that are not the next event. After the first of them nothing counts as whole.
    pub wrong: u64,
}

impl Comparison {
    /// Before the first record.
    pub fn new() -> Self {
        Self { expected: Sequence::new(), whole: 0, wrong: 0 }
    }

    /// Takes the next record. The guard is the library's, so that walrec's may differ there.
    pub fn take(&mut self, record: &[u8]) {
        let event = *self.expected.advance();
        if self.wrong == 0 && record.len() == BYTES && record[..60] == event.bytes()[..60] {
            self.whole += 1;
        } else {
            self.wrong += 1;
        }
    }
}
