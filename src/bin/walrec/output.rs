//! Standard output: text or JSON lines, buffered, ending quietly when nobody reads it any more.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::failure::Failure;

/// Where results go.
pub(crate) struct Output {
    json: bool,
    out: BufWriter<io::Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, out: BufWriter::with_capacity(64 << 10, io::stdout()) }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(|error| write_failed(&error))
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// A value on a line of its own.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, value).map_err(|error| write_failed(&error.into()))?;
        self.bytes(b"\n")
    }

    /// The value as JSON, or the text that `text` makes of it.
    pub(crate) fn report<T: Serialize>(&mut self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        if self.json { self.value(value) } else { self.bytes(text(value).as_bytes()) }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| write_failed(&error))
    }

    /// Says why the command ended, and with which code it ends.
    pub(crate) fn end_with(&mut self, failure: &Failure) -> ExitCode {
        let code = failure.exit_code();
        if !matches!(failure, Failure::OutputClosed) {
            if self.json && !matches!(failure, Failure::FaultTold(_)) {
                let _ =
                    self.value(&serde_json::json!({ "error": { "exit_code": code, "message": failure.to_string() } }));
            }
            let _ = self.out.flush();
            say(&failure.to_string());
        }
        ExitCode::from(code)
    }
}

fn write_failed(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::OutputClosed;
    }
    Failure::System(format!("standard output: write: {error}"))
}

/// A message on standard error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "walrec: {text}");
}

/// A line of standard error that is written over and over: on a terminal only.
pub(crate) struct Progress {
    shown: bool,
    percent: u64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { shown: io::stderr().is_terminal(), percent: u64::MAX }
    }

    /// Draws the bar anew when its per cent have changed.
    pub(crate) fn draw(&mut self, done: u64, of: u64, text: &str) {
        const CELLS: u64 = 40;
        let percent = done.min(of) * 100 / of.max(1);
        if !self.shown || percent == self.percent {
            return;
        }
        self.percent = percent;
        let bar: String = (0..CELLS).map(|cell| if cell * 100 < percent * CELLS { '#' } else { '.' }).collect();
        let _ = write!(io::stderr(), "\r[{bar}] {percent:>3} %  {text}\x1b[K");
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// Where the cells of a column stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Aligned columns, two spaces apart, with a heading.
pub(crate) fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |place: usize| {
        let cells = rows.iter().filter_map(|row| row.get(place)).map(|cell| cell.chars().count());
        cells.chain([columns[place].0.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let heading = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for (place, cell) in row.iter().enumerate().take(columns.len()) {
            let gap = if place == 0 { "" } else { "  " };
            match columns[place].1 {
                Align::Left => line += &format!("{gap}{cell:<width$}", width = widths[place]),
                Align::Right => line += &format!("{gap}{cell:>width$}", width = widths[place]),
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// `name  value` lines, the names padded to one width.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    fields.iter().fold(String::new(), |text, (name, value)| text + &format!("{name:<width$}  {value}\n"))
}

/// The text in lines of at most 100 columns, those after the first indented.
pub(crate) fn wrapped(text: &str, indent: &str) -> String {
    const COLUMNS: usize = 100;
    let words = text.trim_start();
    let (mut lines, mut line) = (String::new(), text[..text.len() - words.len()].to_owned());
    let mut first = true;
    for word in words.split(' ') {
        if !first && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines += &format!("{line}\n");
            indent.clone_into(&mut line);
        } else if !first {
            line.push(' ');
        }
        line += word;
        first = false;
    }
    lines + &line + "\n"
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes, with a power of 1,024 that leaves at most four digits.
pub(crate) fn bytes_text(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut whole, mut rest, mut unit) = (bytes, 0, 0);
    while whole >= 10_000 && unit + 1 < units.len() {
        (whole, rest, unit) = (whole / 1024, whole % 1024, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{whole}.{} {}", rest * 10 / 1024, units[unit]) }
}

/// Nanoseconds since 1970 as UTC; `-` for none.
pub(crate) fn time_text(timestamp_ns: u64) -> String {
    if timestamp_ns == 0 {
        return "-".into();
    }
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_nanos(timestamp_ns));
    time.map_or_else(|| timestamp_ns.to_string(), |time| humantime::format_rfc3339_millis(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_scaled() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 9_999, 10_240, 8_421_440].map(bytes_text), ["0 B", "9999 B", "10.0 KiB", "8224.0 KiB"]);
        assert_eq!(time_text(1_700_000_000_123_000_000), "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn long_lines_are_wrapped() {
        assert_eq!(wrapped("  a bc", "    "), "  a bc\n");
        let text = wrapped(&"12345 ".repeat(40), "  ");
        assert!(text.lines().all(|line| line.len() <= 100) && text.lines().skip(1).all(|line| line.starts_with("  1")));
        assert_eq!(text.matches("12345").count(), 40);
    }

    #[test]
    fn columns_stand_below_their_headings() {
        let rows = [vec!["1".to_owned(), "sealed".to_owned()], vec!["12".into(), "x".into()]];
        let text = table(&[("n", Align::Right), ("state", Align::Left)], &rows);
        assert_eq!(text, " n  state\n 1  sealed\n12  x\n");
    }
}
