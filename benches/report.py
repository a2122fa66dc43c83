#!/usr/bin/env python3
"""Turns what the benchmarks measured into sections of docs/PERFORMANCE.md and plots.

    report.py [--document FILE] [--plots DIRECTORY] [JSON ...]

Each JSON file of target/bench (append, growth, peers, cold; any may be missing) becomes one section between two marker lines of its own; a section
that is not there yet is put at the end of the document. Everything outside of the markers is left as it is. Curves of append.json become
SVG files: latency by percentile, both axes so that the tail shows. Nothing but the standard library is needed.
"""

import argparse
import html
import json
import math
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLORS = ["#1b6ca8", "#c2410c", "#6b7280", "#15803d", "#7e22ce", "#b45309"]
TITLES = {
    "append": "Append, measured with its targets",
    "peers": "Beside other logs",
    "cold": "Cold paths, measured with their targets",
    "growth": "As the work grows",
}
COMMANDS = {"append": "make bench", "peers": "make bench-peers", "cold": "make bench-cold", "growth": "make bench-growth"}


def number(value):
    """As few digits as tell something."""
    if value is None:
        return ""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    digits = 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}"


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in rows]
    return lines


def machine(data):
    facts = data.get("about") or data.get("machine") or {}
    return ["Machine and versions: " + "; ".join(f"{key}: {value}" for key, value in facts.items()) + "."] if facts else []


# ---- sections --------------------------------------------------------------


def targets(data):
    """Rows with id, what, value and unit; target and met where there is one."""
    words = {True: "met", False: "**missed**", None: ""}
    rows = [
        [row["what"].strip(), number(row["value"]), row.get("unit", ""), row.get("target", ""), words[row.get("met")]]
        for row in data.get("rows", [])
    ]
    return table(["what", "figure", "unit", "target", ""], rows) if rows else []


def percentiles(data, plots):
    curves = data.get("curves", [])
    if not curves:
        return []
    names = list(curves[0]["ns"])
    lines = ["", "Nanoseconds by percentile; response time counts from the moment at which an append was to begin.", ""]
    lines += table(["", "samples"] + names, [[c["name"], number(c["samples"])] + [number(c["ns"][n]) for n in names] for c in curves])
    lines.append("")
    lines += [f"![{title}](plots/{name})" for title, name in plots]
    return lines


def peers(data):
    lines = []
    figures = {}
    for row in data.get("rows", []):
        if "metric" in row:
            who = (row["peer"], row.get("version", ""), row.get("survives", ""))
            figures.setdefault(row["table"], {}).setdefault(who, {})[row["metric"]] = row
    for name, who in figures.items():
        metrics = list(dict.fromkeys(metric for rows in who.values() for metric in rows))
        lines += ["", f"{name.capitalize()}; in brackets how many times walrec is better in the same run.", ""]
        rows = []
        for (peer, version, survives), values in who.items():
            cells = []
            for metric in metrics:
                row = values.get(metric)
                times = row and row.get("walrec_times_better")
                aside = f" ({number(times)} x)" if times and peer != "walrec" else ""
                cells.append(f"{number(row['value'])}{aside}" if row else "")
            rows.append([peer, version, survives] + cells)
        lines += table(["log", "version", "survives"] + metrics, rows)
    killed = {}
    for row in data.get("rows", []):
        if row.get("table") == "killed":
            sums = killed.setdefault(row["peer"], [0, 0, 0, 0])
            for place, value in enumerate((1, row.get("accepted", 0), row.get("lost", 0), row.get("wrong", 0))):
                sums[place] += value or 0
    if killed:
        lines += ["", "After kill -9:", ""]
        heads = ["log", "kills", "events accepted", "lost", "wrong"]
        lines += table(heads, [[peer] + [number(value) for value in sums] for peer, sums in killed.items()])
    return lines


def section(name, data, plots):
    lines = [f"## {TITLES.get(name, name)}", "", f"Written by `make bench-report` from what `{COMMANDS.get(name, 'make bench')}` measured.", ""]
    lines += machine(data) + [""]
    rows = data.get("rows", [])
    lines += peers(data) if rows and "peer" in rows[0] else targets(data)
    return lines + percentiles(data, plots)


def put(document, name, lines):
    """The document with the section between its markers; appended when there are none."""
    begin, end = f"<!-- bench-report: {name} -->", f"<!-- bench-report: end of {name} -->"
    text = "\n".join([begin, ""] + lines + ["", end])
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(document):
        return pattern.sub(lambda _: text, document, count=1)
    return document.rstrip("\n") + "\n\n" + text + "\n"


# ---- plots -----------------------------------------------------------------


def place_of(name):
    """Where a percentile stands on the axis: each nine a step, the maximum behind the last."""
    if name == "max":
        return 5.7
    return -math.log10(1 - float(name[1:]) / 100)


def svg(title, curves):
    """Latency by percentile; `curves` are (name, {percentile: ns})."""
    width, height, left, top, right, bottom = 760, 420, 70, 40, 20, 90
    names = list(curves[0][1])
    values = [max(ns, 1) for _, points in curves for ns in points.values()]
    low, high = math.floor(math.log10(min(values))), max(math.ceil(math.log10(max(values))), 1)
    high = high if high > low else low + 1
    far = max(place_of(name) for name in names)
    x = lambda name: left + (width - left - right) * place_of(name) / far
    y = lambda ns: height - bottom - (height - top - bottom) * (math.log10(max(ns, 1)) - low) / (high - low)
    units = {0: "1 ns", 1: "10 ns", 2: "100 ns", 3: "1 us", 4: "10 us", 5: "100 us", 6: "1 ms", 7: "10 ms", 8: "100 ms", 9: "1 s"}
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{left}" y="22" font-size="15" fill="#111827">{html.escape(title)}</text>',
    ]
    for decade in range(low, high + 1):
        at = y(10**decade)
        out.append(f'<line x1="{left}" y1="{at:.1f}" x2="{width - right}" y2="{at:.1f}" stroke="#e5e7eb"/>')
        out.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end" fill="#374151">{units.get(decade, f"1e{decade} ns")}</text>')
    for name in names:
        at = x(name)
        out.append(f'<line x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{height - bottom}" stroke="#f3f4f6"/>')
        out.append(f'<text x="{at:.1f}" y="{height - bottom + 18}" text-anchor="middle" fill="#374151">{name}</text>')
    for number_of, (name, points) in enumerate(curves):
        color = COLORS[number_of % len(COLORS)]
        path = " ".join(f"{x(point):.1f},{y(ns):.1f}" for point, ns in points.items())
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        out += [f'<circle cx="{x(point):.1f}" cy="{y(ns):.1f}" r="3" fill="{color}"/>' for point, ns in points.items()]
        at = left + number_of % 3 * 225, height - 48 + number_of // 3 * 20
        out.append(f'<rect x="{at[0]}" y="{at[1]}" width="14" height="4" fill="{color}"/>')
        out.append(f'<text x="{at[0] + 20}" y="{at[1] + 7}" fill="#111827">{html.escape(name)}</text>')
    return "\n".join(out + ["</svg>", ""])


def plots_of(data, directory):
    """Writes a plot for each rate and one for the way to the disk; gives titles and file names."""
    groups, lags = {}, []
    for curve in data.get("curves", []):
        rate, _, name = curve["name"].rpartition(".")
        if name == "append to durable":
            lags.append((rate + "/s", curve["ns"]))
        else:
            groups.setdefault(rate, []).append((name, curve["ns"]))
    wanted = [(f"An append at {rate.replace('huge.', '')}/s{', huge pages' if 'huge' in rate else ''}", f"append-{rate}.svg", curves)
              for rate, curves in groups.items()]
    if lags:
        wanted.append(("From append to durable", "durable-lag.svg", lags))
    if wanted:
        directory.mkdir(parents=True, exist_ok=True)
    for title, name, curves in wanted:
        (directory / name).write_text(svg(title, curves))
    return [(title, name) for title, name, _ in wanted]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--document", type=pathlib.Path, default=ROOT / "docs/PERFORMANCE.md")
    parser.add_argument("--plots", type=pathlib.Path, default=ROOT / "docs/plots")
    parser.add_argument("json", type=pathlib.Path, nargs="*")
    arguments = parser.parse_args()
    files = arguments.json or sorted((ROOT / "target/bench").glob("*.json"))
    if not files:
        sys.exit("report.py: nothing was measured yet: target/bench has no JSON file (make bench)")
    document = arguments.document.read_text()
    for file in files:
        data = json.loads(file.read_text())
        if "rows" not in data:
            print(f"{file.name}: no rows, left out")
            continue
        plots = plots_of(data, arguments.plots)
        document = put(document, file.stem, section(file.stem, data, plots))
        print(f"{file.name}: {len(data['rows'])} rows, {len(plots)} plots")
    arguments.document.write_text(document)


if __name__ == "__main__":
    main()
