//! The header tables of `docs/FORMAT.md` against the independent decoder's tables, and both against the library's types:
//! the layout is written down in three places, and this keeps them one.

#![allow(clippy::unwrap_used, reason = "a broken document ends the test")]

mod decoder;

use std::mem::{offset_of, size_of};
use std::path::Path;

use decoder::fields::{Field, block_header, event, segment_header};
use decoder::segment;
use walrec::format::{BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockHeader, EVENT_BYTES, EVENTS_PER_BLOCK, Event};
use walrec::format::{SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SEGMENT_VERSION, Seal, SegmentHeader};

/// The rows `| off | size | field |` of the first table below the heading that begins so.
fn table_below(document: &str, heading: &str) -> Vec<(usize, usize, String)> {
    let lines = document
        .lines()
        .skip_while(|line| !(line.starts_with('#') && line.trim_start_matches('#').trim().starts_with(heading)))
        .skip(1)
        .take_while(|line| !line.starts_with('#'));
    let mut rows = Vec::new();
    for line in lines.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if let (Ok(off), Ok(size)) = (cells[0].parse(), cells[1].parse()) {
            rows.push((off, size, cells[2].to_owned()));
        } else {
            let is_title = cells[..3] == ["off", "size", "field"];
            let is_rule = cells.iter().all(|cell| cell.bytes().all(|byte| byte == b'-' || byte == b':'));
            assert!(is_title || is_rule, "{heading}: a row that is none: {line}");
        }
    }
    rows
}

#[test]
fn the_documents_tables_are_the_decoders() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FORMAT.md");
    let document = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    for (heading, fields) in [
        ("Segment header", &segment_header::ALL[..]),
        ("Block header", &block_header::ALL[..]),
        ("Event", &event::ALL[..]),
    ] {
        let rows = table_below(&document, heading);
        assert_eq!(rows.len(), fields.len(), "{heading}: rows {rows:?}");
        for ((off, size, name), field) in rows.iter().zip(fields) {
            assert_eq!((*off, *size), (field.off, field.size), "{heading}: {name} against {}", field.name);
            // Two rows have no name in the document: the link is told by its content, the last one is 0.
            let named = *field != block_header::LINK && *field != block_header::RESERVED;
            assert!(!named || name.trim_matches('`').starts_with(field.name), "{heading}: {name}, not {}", field.name);
        }
    }
}

/// The document's numbers that stand in its text.
#[test]
fn sizes_are_the_librarys() {
    assert_eq!(segment::SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES);
    assert_eq!(segment::BLOCK_HEADER_BYTES, BLOCK_HEADER_BYTES);
    assert_eq!(segment::BLOCK_BYTES, BLOCK_BYTES);
    assert_eq!(segment::EVENT_BYTES, EVENT_BYTES);
    assert_eq!(segment::EVENTS_PER_BLOCK as u64, u64::from(EVENTS_PER_BLOCK));
    assert_eq!(segment::MAGIC, u64::from(SEGMENT_MAGIC));
    assert_eq!(segment::VERSION, u64::from(SEGMENT_VERSION));
}

#[test]
fn the_event_in_memory_is_the_event_in_the_table() {
    assert_eq!(size_of::<Event>(), 64);
    for (field, offset) in [
        (event::EVENT_ID, offset_of!(Event, event_id)),
        (event::TIMESTAMP_NS, offset_of!(Event, timestamp_ns)),
        (event::PRICE, offset_of!(Event, price)),
        (event::QUANTITY, offset_of!(Event, quantity)),
        (event::USER_ID, offset_of!(Event, user_id)),
        (event::ORDER_ID, offset_of!(Event, order_id)),
        (event::TYPE, offset_of!(Event, kind)),
        (event::ORDER_TYPE, offset_of!(Event, order_type)),
        (event::SIDE, offset_of!(Event, side)),
        (event::USER_BYTES, offset_of!(Event, user_bytes)),
        (event::GUARD, offset_of!(Event, guard)),
    ] {
        assert_eq!(field.off, offset, "{}", field.name);
    }
}

fn check(structure: &[u8], values: &[(Field, u64)]) {
    for (field, value) in values {
        assert_eq!(field.of(structure), *value, "{}", field.name);
    }
}

#[test]
fn the_librarys_headers_are_laid_out_by_the_tables() {
    use block_header as b;
    use segment_header as s;
    let seal = Seal {
        block_count: 0x0102_0304,
        event_count: 0x0506_0708,
        first_event_id: 0x1112_1314_1516_1718,
        last_event_id: 0x2122_2324_2526_2728,
        closed_ts_ns: 0x3132_3334_3536_3738,
        last_chained_checksum: 0x4142_4344_4546_4748,
    };
    let header = SegmentHeader { segment_index: 0x5152_5354, created_ts_ns: 0x6162_6364_6566_6768, seal: Some(seal) };
    let bytes = header.to_bytes();
    let sealed = [
        (s::MAGIC, 0x4653),
        (s::VERSION, 1),
        (s::HEADER_SIZE, 64),
        (s::SEGMENT_INDEX, header.segment_index.into()),
        (s::BLOCK_COUNT, seal.block_count.into()),
        (s::EVENT_COUNT, seal.event_count.into()),
        (s::FIRST_EVENT_ID, seal.first_event_id),
        (s::LAST_EVENT_ID, seal.last_event_id),
        (s::CREATED_TS_NS, header.created_ts_ns),
        (s::CLOSED_TS_NS, seal.closed_ts_ns),
        (s::CHECKSUM, segment::segment_header_checksum(&bytes)),
        (s::LAST_CHAINED_CHECKSUM, seal.last_chained_checksum),
    ];
    assert_eq!(sealed.map(|(field, _)| field), s::ALL);
    check(&bytes, &sealed);
    let unsealed = SegmentHeader { seal: None, ..header }.to_bytes();
    let counts = [s::BLOCK_COUNT, s::EVENT_COUNT, s::FIRST_EVENT_ID, s::LAST_EVENT_ID, s::CLOSED_TS_NS];
    check(&unsealed, &counts.map(|field| (field, 0)));
    check(&unsealed, &[(s::LAST_CHAINED_CHECKSUM, 0), (s::CHECKSUM, segment::segment_header_checksum(&unsealed))]);

    let events: Vec<u8> = (1..=3).flat_map(decoder::support::golden_event).collect();
    let header = BlockHeader::finalize(0, &events, 0, 3, Some(0x7172_7374_7576_7778));
    let bytes = header.to_bytes();
    let block = [
        (b::FIRST_EVENT_ID, 1),
        (b::LAST_EVENT_ID, 3),
        (b::BLOCK_CHECKSUM, segment::xxh64(&events, 0)),
        (b::CHAINED_CHECKSUM, segment::xxh64(&events, 0)),
        (b::CHECKSUM, segment::block_header_checksum(&bytes)),
        (b::BLOCK_INDEX, 0),
        (b::EVENT_COUNT, 3),
        (b::FLAGS, 3),
        (b::LINK, 0x7172_7374_7576_7778),
        (b::RESERVED, 0),
    ];
    assert_eq!(block.map(|(field, _)| field), b::ALL);
    check(&bytes, &block);
    let bytes = BlockHeader::finalize(9, &events, 77, 1, None).to_bytes();
    check(&bytes, &[(b::BLOCK_INDEX, 9), (b::CHAINED_CHECKSUM, segment::xxh64(&events, 77)), (b::LINK, 0)]);
}
