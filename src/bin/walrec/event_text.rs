//! Events as text: a table for people, JSON lines and CSV for programs.

use serde::Serialize;
use walrec::format::Event;

use crate::arguments::Format;
use crate::failure::Failure;
use crate::output::Output;

/// The heading of the CSV.
pub(crate) const CSV_HEADING: &str =
    "event_id,timestamp_ns,price,quantity,user_id,order_id,kind,order_type,side,user_bytes";

#[derive(Serialize)]
struct EventValue {
    event_id: u64,
    timestamp_ns: u64,
    price: i64,
    quantity: i64,
    user_id: u32,
    order_id: u32,
    kind: u8,
    order_type: u8,
    side: u8,
    user_bytes: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02x}"))
}

/// The name of a number, or the number.
fn name_of(number: u8, names: &[&str]) -> String {
    names.get(usize::from(number)).map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// The heading of the table.
fn heading() -> String {
    format!(
        "{:>12} {:>19} {:>11} {:>11} {:>10} {:>10}  {:<6}  {:<6}  side",
        "event_id", "timestamp_ns", "price", "quantity", "user_id", "order_id", "kind", "type"
    )
}

fn table_line(event: &Event) -> String {
    let Event { event_id, timestamp_ns, price, quantity, user_id, order_id, .. } = event;
    let kind = name_of(event.kind, &["new", "price", "qty", "cancel"]);
    let order_type = name_of(event.order_type, &["limit", "market"]);
    let side = name_of(event.side, &["bid", "ask"]);
    format!(
        "{event_id:>12} {timestamp_ns:>19} {price:>11} {quantity:>11} {user_id:>10} {order_id:>10}  {kind:<6}  {order_type:<6}  {side}"
    )
}

/// The event as a line of CSV.
pub(crate) fn csv_line(event: &Event) -> String {
    let Event { event_id, timestamp_ns, price, quantity, user_id, order_id, kind, order_type, side, .. } = event;
    let user_bytes = hex(&event.user_bytes);
    format!("{event_id},{timestamp_ns},{price},{quantity},{user_id},{order_id},{kind},{order_type},{side},{user_bytes}")
}

/// The event as a value for JSON.
pub(crate) fn value_of(event: &Event) -> impl Serialize {
    EventValue {
        event_id: event.event_id,
        timestamp_ns: event.timestamp_ns,
        price: event.price,
        quantity: event.quantity,
        user_id: event.user_id,
        order_id: event.order_id,
        kind: event.kind,
        order_type: event.order_type,
        side: event.side,
        user_bytes: hex(&event.user_bytes),
    }
}

/// Prints events, the heading before the first.
pub(crate) struct EventPrinter {
    format: Format,
    begun: bool,
}

impl EventPrinter {
    pub(crate) fn new(format: Format, output: &Output) -> Self {
        Self { format: if output.is_json() { Format::Json } else { format }, begun: false }
    }

    pub(crate) fn print(&mut self, event: &Event, output: &mut Output) -> Result<(), Failure> {
        if !self.begun {
            self.begun = true;
            match self.format {
                Format::Table => output.line(&heading())?,
                Format::Csv => output.line(CSV_HEADING)?,
                Format::Json => {}
            }
        }
        match self.format {
            Format::Table => output.line(&table_line(event)),
            Format::Csv => output.line(&csv_line(event)),
            Format::Json => output.value(&value_of(event)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_below_the_heading_and_fits() {
        let event = Event { event_id: 7, price: -5, kind: 3, order_type: 1, side: 1, ..Event::default() };
        let (line, heading) = (table_line(&event), heading());
        assert!(heading.len() <= 100 && line.len() <= 100, "{} {}", heading.len(), line.len());
        for (name, value) in [("event_id", "7"), ("price", "-5"), ("quantity", "0"), ("order_id", "0")] {
            let end = heading.find(name).map(|at| at + name.len()).unwrap();
            assert!(line[..end].ends_with(value), "{name}: {line}");
        }
        for (name, value) in [("kind", "cancel"), ("type", "market"), ("side", "ask")] {
            assert_eq!(line.find(value), heading.find(name));
        }
    }

    #[test]
    fn csv_has_a_cell_for_each_heading() {
        assert_eq!(csv_line(&Event::default()).split(',').count(), CSV_HEADING.split(',').count());
    }
}
