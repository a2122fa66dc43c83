//! Events as columns, into a file of Parquet or of Arrow IPC. The names and their order are those of the CSV.
//!
//! Memory is bounded whatever is written: one batch of events, its columns, and with Parquet one row group on its way out. Only the
//! list of row groups or batches in the file's footer grows.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Decimal128Array, FixedSizeBinaryArray, Int64Array, RecordBatch, TimestampNanosecondArray, UInt8Array,
    UInt32Array, UInt64Array,
};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use walrec::format::Event;

use crate::failure::Failure;
use crate::new_file::NewFile;

/// Events of one batch.
pub(crate) const BATCH: usize = 1 << 16;
/// Events of one row group of Parquet.
const ROW_GROUP: usize = 4 * BATCH;
const USER_BYTES: i32 = 17;
/// Digits of the largest 64-bit number.
const DIGITS: u8 = 19;

/// How many decimal digits of a number stand behind the point; with 0 it is a whole number.
#[derive(Clone, Copy)]
pub(crate) struct Scales {
    pub(crate) price: u8,
    pub(crate) quantity: u8,
}

fn number_type(scale: u8) -> DataType {
    match i8::try_from(scale) {
        Ok(digits) if digits > 0 => DataType::Decimal128(DIGITS, digits),
        _ => DataType::Int64,
    }
}

/// Names and types.
pub(crate) fn schema(scales: Scales) -> SchemaRef {
    let columns = [
        ("event_id", DataType::UInt64),
        ("timestamp_ns", DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))),
        ("price", number_type(scales.price)),
        ("quantity", number_type(scales.quantity)),
        ("user_id", DataType::UInt32),
        ("order_id", DataType::UInt32),
        ("kind", DataType::UInt8),
        ("order_type", DataType::UInt8),
        ("side", DataType::UInt8),
        ("user_bytes", DataType::FixedSizeBinary(USER_BYTES)),
    ];
    Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(name, kind, false)).to_vec()))
}

fn number_column(values: impl Iterator<Item = i64>, scale: u8) -> ArrayRef {
    match number_type(scale) {
        kind @ DataType::Decimal128(..) => {
            Arc::new(Decimal128Array::from_iter_values(values.map(i128::from)).with_data_type(kind))
        }
        _ => Arc::new(Int64Array::from_iter_values(values)),
    }
}

/// The columns of some events.
fn batch_of(events: &[Event], schema: &SchemaRef, scales: Scales) -> Result<RecordBatch, Failure> {
    let times: Result<Vec<i64>, &Event> =
        events.iter().map(|event| i64::try_from(event.timestamp_ns).map_err(|_| event)).collect();
    let times = times.map_err(|event| {
        let Event { event_id, timestamp_ns, .. } = event;
        Failure::System(format!(
            "event {event_id}: timestamp {timestamp_ns}: after the year 2262, no column of times holds it"
        ))
    })?;
    let columns = || -> Result<RecordBatch, ArrowError> {
        let each = || events.iter();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(each().map(|event| event.event_id))),
            Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")),
            number_column(each().map(|event| event.price), scales.price),
            number_column(each().map(|event| event.quantity), scales.quantity),
            Arc::new(UInt32Array::from_iter_values(each().map(|event| event.user_id))),
            Arc::new(UInt32Array::from_iter_values(each().map(|event| event.order_id))),
            Arc::new(UInt8Array::from_iter_values(each().map(|event| event.kind))),
            Arc::new(UInt8Array::from_iter_values(each().map(|event| event.order_type))),
            Arc::new(UInt8Array::from_iter_values(each().map(|event| event.side))),
            Arc::new(FixedSizeBinaryArray::try_from_iter(each().map(|event| event.user_bytes))?),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns)
    };
    columns().map_err(|error| Failure::System(error.to_string()))
}

fn properties() -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP))
        // By row group, to be skipped by id and time; by page they would make the footer grow.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_created_by(format!("walrec {}", env!("CARGO_PKG_VERSION")));
    for column in ["event_id", "timestamp_ns", "order_id"] {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}

enum Form {
    Parquet(ArrowWriter<NewFile>),
    Arrow(FileWriter<BufWriter<NewFile>>),
}

/// The file, and the events of the batch that is being filled.
pub(crate) struct ColumnFile {
    form: Form,
    schema: SchemaRef,
    scales: Scales,
    events: Vec<Event>,
    name: String,
}

impl ColumnFile {
    pub(crate) fn parquet(file: NewFile, scales: Scales) -> Result<Self, Failure> {
        let (name, schema) = (file.path().display().to_string(), schema(scales));
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties()));
        let form = Form::Parquet(writer.map_err(|error| parquet_failed(&name, &error))?);
        Ok(Self { form, schema, scales, events: Vec::with_capacity(BATCH), name })
    }

    pub(crate) fn arrow(file: NewFile, scales: Scales) -> Result<Self, Failure> {
        let (name, schema) = (file.path().display().to_string(), schema(scales));
        let writer = FileWriter::try_new_buffered(file, &schema);
        let form = Form::Arrow(writer.map_err(|error| arrow_failed(&name, &error))?);
        Ok(Self { form, schema, scales, events: Vec::with_capacity(BATCH), name })
    }

    pub(crate) fn put(&mut self, event: Event) -> Result<(), Failure> {
        self.events.push(event);
        if self.events.len() == BATCH { self.write_batch() } else { Ok(()) }
    }

    fn write_batch(&mut self) -> Result<(), Failure> {
        let batch = batch_of(&self.events, &self.schema, self.scales)?;
        self.events.clear();
        match &mut self.form {
            Form::Parquet(writer) => writer.write(&batch).map_err(|error| parquet_failed(&self.name, &error)),
            Form::Arrow(writer) => writer.write(&batch).map_err(|error| arrow_failed(&self.name, &error)),
        }
    }

    /// The last batch and the footer; the file gets its name. Its bytes.
    pub(crate) fn finish(mut self) -> Result<u64, Failure> {
        if !self.events.is_empty() {
            self.write_batch()?;
        }
        let name = self.name;
        let file = match self.form {
            Form::Parquet(writer) => writer.into_inner().map_err(|error| parquet_failed(&name, &error))?,
            Form::Arrow(writer) => {
                let mut buffer = writer.into_inner().map_err(|error| arrow_failed(&name, &error))?;
                let flushed = buffer.flush();
                flushed.map_err(|error| Failure::System(format!("{name}: write: {error}")))?;
                let file = buffer.into_inner();
                file.map_err(|error| Failure::System(format!("{name}: write: {error}")))?
            }
        };
        file.finish()
    }
}

fn parquet_failed(name: &str, error: &ParquetError) -> Failure {
    Failure::System(format!("{name}: write: {error}"))
}

fn arrow_failed(name: &str, error: &ArrowError) -> Failure {
    Failure::System(format!("{name}: write: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_text::CSV_HEADING;

    #[test]
    fn columns_are_called_as_in_the_csv() {
        let schema = schema(Scales { price: 0, quantity: 2 });
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names.join(","), CSV_HEADING);
    }

    #[test]
    fn a_scaled_number_keeps_every_digit() {
        let scales = Scales { price: 2, quantity: 0 };
        let events = [i64::MIN, -5, i64::MAX].map(|price| Event { price, ..Event::default() });
        let batch = batch_of(&events, &schema(scales), scales).unwrap();
        let prices = batch.column(2).as_any().downcast_ref::<Decimal128Array>().unwrap();
        let texts = [0, 1, 2].map(|row| prices.value_as_string(row));
        assert_eq!(texts, ["-92233720368547758.08", "-0.05", "92233720368547758.07"]);
    }

    #[test]
    fn a_time_that_no_column_holds_is_refused() {
        let scales = Scales { price: 0, quantity: 0 };
        let event = |timestamp_ns| Event { event_id: 7, timestamp_ns, ..Event::default() };
        let refused = batch_of(&[event(u64::MAX)], &schema(scales), scales);
        assert!(refused.is_err_and(|failure| failure.exit_code() == 4 && failure.to_string().starts_with("event 7: ")));
        assert!(batch_of(&[event(u64::MAX / 2)], &schema(scales), scales).is_ok());
    }
}
