#!/usr/bin/env python3
"""Shows what `benches/end-to-end --json RESULT` has measured.

    benches/chart.py RESULT > OUT.svg      a bar chart: each proxy as a ratio to the first one
    benches/chart.py --table RESULT        all medians as a table in Markdown
    benches/chart.py --update RESULT       the chart into RESULT's folder, the table into README.md there

Needs nothing but Python 3.8 or later. It draws and counts; it measures nothing.
"""

import argparse
import html
import json
import pathlib
import statistics
import sys

# In the order in which they are shown.
WORKLOADS = {
    "get": "small GET",
    "get-close": "small GET, new connection",
    "post": "POST of 300 bytes",
    "download": "download of 1 MiB",
    "upload": "upload of 5 MiB",
}
MODES = {
    "pinned": "each proxy alone on one core, one worker",
    "shared": "proxy, load and upstream share all cores, a worker for each core",
}
# What a name of the result stands for, where the name alone does not tell.
BUILDS = {"wxgate": "wxgate as `cargo build --release` makes it", "optimised": "wxgate as `packaging/optimised` makes it"}
# What README.md has between these lines is written by --update.
BEGIN, END = "<!-- made by chart.py -->", "<!-- end -->"
FIGURES = ("requests_per_second", "cpu_seconds_per_10k", "peak_mib")


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def summary(result):
    """`[workload][proxy][figure]`: the spread of the values, and of the ratios to the reference in the same round."""
    runs = {(run["workload"], run["proxy"], run["round"]): run for run in result["runs"]}
    out = {}
    for workload in WORKLOADS:
        for proxy in result["versions"]:
            figures = out.setdefault(workload, {}).setdefault(proxy, {})
            rounds = [number for load, name, number in sorted(runs) if (load, name) == (workload, proxy)]
            for figure in FIGURES:
                pairs = [(runs[workload, proxy, number][figure], runs[workload, result["reference"], number][figure])
                         for number in rounds]
                # Memory that could not be read is `None`.
                pairs = [pair for pair in pairs if None not in pair]
                figures[figure] = {
                    "value": spread([value for value, _ in pairs]),
                    "ratio": spread([value / theirs for value, theirs in pairs]),
                } if pairs else None
    return out


def caption(result):
    machine = result["machine"]
    return (f"{result['date']}, {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; "
            f"{MODES[result['mode']]}; medians of {result['rounds']} rounds of {result['seconds']} s")


def table(result):
    """Markdown: medians, and in brackets least and most of the ratios."""

    reference = result["reference"]

    def cells(proxy, entry, digits):
        if entry is None:
            return "– | –"
        median = f"{entry['value']['median']:.{digits}f}"
        if proxy == reference:
            return f"{median} | 1"
        ratio = entry["ratio"]
        return f"{median} | {ratio['median']:.2f} ({ratio['least']:.2f}–{ratio['most']:.2f})"

    versions = ", ".join(f"{proxy} {version}" for proxy, version in result["versions"].items())
    builds = "".join(f" {name}: {built}." for name, built in BUILDS.items() if name in result["versions"])
    others = max(run["others"] for run in result["runs"])
    lines = [
        f"{caption(result)}. {versions}. All else on the machine took {others:.0%} of it at most in any run.{builds}",
        "",
        f"| load | proxy | requests/s | ratio to {reference} | CPU s per 10,000 | ratio to {reference} "
        f"| peak MiB | ratio to {reference} |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for workload, proxies in summary(result).items():
        for proxy, figures in proxies.items():
            row = (cells(proxy, figures[figure], digits) for figure, digits in zip(FIGURES, (0, 3, 1)))
            lines.append(f"| {WORKLOADS[workload]} | {proxy} | {' | '.join(row)} |")
    return "\n".join(lines)


# A card of its own in both modes: a picture in a page does not know the page's colours for sure.
STYLE = """
  .card { fill: #ffffff; stroke: #d1d9e0; }
  text { fill: #1f2328; font: 13px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; }
  .title { font-size: 16px; font-weight: 600; }
  .quiet { fill: #59636e; font-size: 12px; }
  .axis { stroke: #59636e; }
  .range { stroke: #1f2328; stroke-opacity: .55; }
  .bar0 { fill: #1a7f37; } .bar1 { fill: #8250df; } .bar2 { fill: #bc4c00; } .bar3 { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #3d444d; }
    text { fill: #f0f6fc; }
    .quiet { fill: #9198a1; }
    .axis { stroke: #9198a1; }
    .range { stroke: #f0f6fc; }
    .bar0 { fill: #3fb950; } .bar1 { fill: #ab7df8; } .bar2 { fill: #db6d28; } .bar3 { fill: #4493f8; }
  }
"""
WIDTH, LEFT, PANEL, GAP = 880, 216, 290, 40
TOP, BAR, BETWEEN = 138, 13, 16
PANELS = (("cpu_seconds_per_10k", "CPU a request (shorter is better)"),
          ("requests_per_second", "requests a second (longer is better)"))


def svg(result):
    """The chart: a line for the reference at 1, and a bar for each of the others."""
    reference = result["reference"]
    others = [proxy for proxy in result["versions"] if proxy != reference]
    rows = summary(result)
    height = TOP + len(rows) * (len(others) * BAR + BETWEEN)
    most = max([1.25] + [rows[w][p][figure]["ratio"]["most"] for w in rows for p in others for figure, _ in PANELS])
    # The figures stand in a column behind the bars.
    scale = (PANEL - 40) / most
    out = []

    def text(x, y, words, kind="", anchor="start"):
        out.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{html.escape(words)}</text>')

    text(24, 32, f"{' and '.join(others)} beside {reference}: CPU a request and requests a second", "title")
    when, *rest = caption(result).split("; ", 1)
    text(24, 54, when, "quiet")
    text(24, 71, "; ".join(rest), "quiet")
    x = 24
    for number, proxy in enumerate(others):
        out.append(f'<rect x="{x}" y="87" width="11" height="11" class="bar{number % 4}"/>')
        text(x + 17, 97, proxy)
        x += 41 + 8 * len(proxy)
    text(x, 97, f"dashed line: {reference} = 1; the figures are medians, thin lines reach from least to most", "quiet")
    for panel, (figure, heading) in enumerate(PANELS):
        x = LEFT + panel * (PANEL + GAP)
        text(x, TOP - 16, heading)
        y = TOP
        for workload, proxies in rows.items():
            middle = y + len(others) * BAR / 2
            if panel == 0:
                text(LEFT - 12, middle + 4, WORKLOADS[workload], anchor="end")
            for number, proxy in enumerate(others):
                ratio = proxies[proxy][figure]["ratio"]
                out.append(f'<rect x="{x}" y="{y + 1}" width="{ratio["median"] * scale:.1f}" height="{BAR - 2}" '
                           f'class="bar{number % 4}"/>')
                out.append(f'<path d="M{x + ratio["least"] * scale:.1f} {y + BAR / 2}H{x + ratio["most"] * scale:.1f}" '
                           'class="range"/>')
                text(x + PANEL, y + BAR - 2, f"{ratio['median']:.2f}", anchor="end")
                y += BAR
            y += BETWEEN
        out.append(f'<path d="M{x + scale:.1f} {TOP - 6}V{y - BETWEEN + 6}" class="axis" stroke-dasharray="3 3"/>')
    title = html.escape(f"{', '.join(others)} beside {reference}")
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{title}">',
        f"<style>{STYLE}</style>",
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6" class="card"/>',
        *out,
        "</svg>",
    ])


def update(path, result):
    path.with_suffix(".svg").write_text(svg(result) + "\n")
    readme = path.with_name("README.md")
    before, rest = readme.read_text().split(BEGIN)
    _, after = rest.split(END)
    readme.write_text(f"{before}{BEGIN}\n{table(result)}\n{END}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--table", action="store_true", help="Markdown instead of a picture")
    how.add_argument("--update", action="store_true", help="both, into their files")
    parser.add_argument("result", metavar="RESULT", type=pathlib.Path)
    options = parser.parse_args()
    result = json.loads(options.result.read_text())
    if options.update:
        update(options.result, result)
    else:
        sys.stdout.write((table if options.table else svg)(result) + "\n")


if __name__ == "__main__":
    main()
