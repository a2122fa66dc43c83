//! The library's side of the golden and format tests: the only file here that names it, and no part of the decoder.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a broken fixture ends the test")]

use std::path::Path;
use std::time::Duration;

use walrec::format::Event;
use walrec::recorder::{self, Config, Manager, SegmentWriter, SyncTimeout};
use walrec::recovery;

use super::decoder::EventBytes;
use super::decoder::fields::event as field;
use super::decoder::support::golden_event;

/// Event `i` of the golden logs, as an engine would give it.
pub fn engine_event(i: u64) -> Event {
    let bytes = golden_event(i);
    let small = |row: super::decoder::fields::Field| u32::try_from(row.of(&bytes)).unwrap();
    Event {
        event_id: field::EVENT_ID.of(&bytes),
        timestamp_ns: field::TIMESTAMP_NS.of(&bytes),
        price: field::PRICE.of(&bytes).cast_signed(),
        quantity: field::QUANTITY.of(&bytes).cast_signed(),
        user_id: small(field::USER_ID),
        order_id: small(field::ORDER_ID),
        kind: bytes[field::TYPE.off],
        order_type: bytes[field::ORDER_TYPE.off],
        side: bytes[field::SIDE.off],
        user_bytes: bytes[field::USER_BYTES.off..field::USER_BYTES.end()].try_into().unwrap(),
        // Ignored on append: anything may stand here.
        guard: 0xdead_beef,
    }
}

/// A replayed event in the bytes of the document's table.
pub fn bytes_of(event: &Event) -> EventBytes {
    let mut bytes = [0; 64];
    field::EVENT_ID.put(&mut bytes, event.event_id);
    field::TIMESTAMP_NS.put(&mut bytes, event.timestamp_ns);
    field::PRICE.put(&mut bytes, event.price.cast_unsigned());
    field::QUANTITY.put(&mut bytes, event.quantity.cast_unsigned());
    field::USER_ID.put(&mut bytes, event.user_id.into());
    field::ORDER_ID.put(&mut bytes, event.order_id.into());
    field::TYPE.put(&mut bytes, event.kind.into());
    field::ORDER_TYPE.put(&mut bytes, event.order_type.into());
    field::SIDE.put(&mut bytes, event.side.into());
    bytes[field::USER_BYTES.off..field::USER_BYTES.end()].copy_from_slice(&event.user_bytes);
    field::GUARD.put(&mut bytes, event.guard.into());
    bytes
}

/// Segments of `num_blocks`, nothing ever retired.
pub fn keep_all(num_blocks: u32) -> Config {
    Config {
        num_blocks,
        max_segments: u32::MAX,
        max_compressed_segments: u32::MAX,
        full_policy: recorder::FullPolicy::Wait { limit_us: 60_000_000 },
        ..Config::default()
    }
}

pub fn open(dir: &Path, config: &Config) -> (SegmentWriter, Manager) {
    recorder::open(dir, config).unwrap_or_else(|why| panic!("{}: open: {why}", dir.display()))
}

pub fn append(writer: &mut SegmentWriter, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        writer.append(&engine_event(id)).unwrap_or_else(|why| panic!("append {id}: {why:?}"));
    }
}

/// Waits until the event is durable.
pub fn sync(manager: &Manager, event_id: u64) {
    manager.sync(event_id, SyncTimeout::Limit(Duration::from_secs(120))).unwrap();
    assert!(manager.durable_event_id() >= event_id, "sync {event_id}: durable is {}", manager.durable_event_id());
}

/// Everything from `from` on, and the error that ended it, if one did.
pub fn replay(dir: &Path, from: u64) -> (Vec<EventBytes>, Option<String>) {
    let mut events = Vec::new();
    let mut reader = match recovery::Manager::open(dir, from) {
        Ok(reader) => reader,
        Err(why) => return (events, Some(why.to_string())),
    };
    let mut batch = [Event::default(); 77];
    loop {
        match reader.read(&mut batch) {
            Ok(0) => return (events, None),
            Ok(got) => events.extend(batch[..got].iter().map(bytes_of)),
            Err(why) => return (events, Some(why.to_string())),
        }
    }
}

/// Everything there is.
pub fn replay_all(dir: &Path) -> Vec<EventBytes> {
    let (events, fault) = replay(dir, 0);
    assert_eq!(fault, None, "{}: after {} events", dir.display(), events.len());
    events
}
