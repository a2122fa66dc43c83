"""Holds exported files against the CSV of the same events: every value, and what SQL adds up. Run by tests/cli/export.rs.

export.py CSV FILE...: the files are Parquet or Arrow by their names. Prints one line a file; ends in 1 at the first difference.
"""

import csv
import sys

import duckdb
import pandas
import pyarrow
import pyarrow.ipc
import pyarrow.parquet

TYPES = {
    "event_id": "uint64",
    "timestamp_ns": "timestamp[ns, tz=UTC]",
    "price": "int64",
    "quantity": "int64",
    "user_id": "uint32",
    "order_id": "uint32",
    "kind": "uint8",
    "order_type": "uint8",
    "side": "uint8",
    "user_bytes": "fixed_size_binary[17]",
}


def differ(what, wanted, found):
    if wanted != found:
        sys.exit(f"{what}: {wanted} in the CSV, {found} in the file")


def by_pandas(name):
    frame = pandas.read_parquet(name) if name.endswith(".parquet") else pandas.read_feather(name)
    if not len(frame):
        return [[] for _ in TYPES]
    frame["timestamp_ns"] = frame["timestamp_ns"].astype("int64")
    frame["user_bytes"] = frame["user_bytes"].map(bytes.hex)
    return [frame[column].tolist() for column in TYPES]


def by_duckdb(name, table):
    source = f"read_parquet('{name}')" if name.endswith(".parquet") else "table_"
    connection = duckdb.connect()
    connection.register("table_", table)
    numbers = [column for column in TYPES if column not in ("timestamp_ns", "user_bytes")]
    sums = ", ".join(f"sum({column}::hugeint)" for column in numbers) + ", sum(epoch_ns(timestamp_ns)::hugeint)"
    ends = ", ".join(f"{end}({column} order by event_id)" for end in ("first", "last") for column in numbers)
    return numbers, connection.execute(f"select count(*), {sums}, {ends} from {source}").fetchone()


def main():
    with open(sys.argv[1], newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = [[row[column] if column == "user_bytes" else int(row[column]) for row in rows] for column in TYPES]
    for name in sys.argv[2:]:
        opened = pyarrow.parquet.ParquetFile(name) if name.endswith(".parquet") else pyarrow.ipc.open_file(name)
        table = opened.read() if name.endswith(".parquet") else opened.read_all()
        differ("types", TYPES, {field.name: str(field.type) for field in table.schema})
        differ("rows", len(rows), table.num_rows)
        for column, values, found in zip(TYPES, wanted, by_pandas(name)):
            differ(f"pandas, {column}", values, found)
        numbers, found = by_duckdb(name, table)
        of = dict(zip(TYPES, wanted))
        expected = [len(rows)] + [sum(of[column]) if rows else None for column in numbers + ["timestamp_ns"]]
        expected += [of[column][end] if rows else None for end in (0, -1) for column in numbers]
        differ("duckdb, count, sums, first and last", expected, list(found))
        batches = opened.num_row_groups if name.endswith(".parquet") else opened.num_record_batches
        print(f"{name.rsplit('/', 1)[1]}: {table.num_rows} rows in {batches} batches")


main()
