#!/usr/bin/env python3
"""Shows what `benches/end-to-end --json RESULT` has measured.

    benches/chart.py RESULT > OUT.svg      a picture: what a call costs beside the first proxy
    benches/chart.py --table RESULT        all medians as tables in Markdown
    benches/chart.py --update RESULT       the picture, in both languages, into RESULT's folder, the tables into README.md
                                           there, and what matters most into both READMEs of the folder above

Needs nothing but Python 3.8 or later. It draws and counts; it measures nothing.
"""

import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True
# Beside this file.
from picture import svg  # noqa: E402
from summary import FIGURES, PROXIES, WAYS, WORKLOADS, caption, growth, php, summary  # noqa: E402
from words import chinese, english  # noqa: E402

# What a name of the result stands for, where the name alone does not tell.
BUILDS = {"wxgate": "wxgate as `cargo build --release` makes it", "optimised": "wxgate as `packaging/optimised` makes it",
          "nginx-256": "nginx that keeps 256 connections to the upstream where nginx keeps one for each caller",
          "nginx-lua": "nginx with Lua"}
# What a document has between these lines is written by --update.
BEGIN, END = "<!-- made by chart.py -->", "<!-- end -->"


def table(result):
    """Markdown: medians, and in brackets least and most of the ratios; then what many callers cost, and calls from PHP."""
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
    others = max((run["others"] for run in result["runs"]), default=0)
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
    grown = growth(result)
    if grown:
        lines += ["", "| callers at once | proxy | requests/s | 99 of 100 within ms | CPU s per 10,000 | times its own with the fewest "
                  "| peak MiB | errors |", "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
        fewest = next(iter(grown.values()))
        for callers, proxies in grown.items():
            for proxy, one in proxies.items():
                cpu, few = one["cpu_seconds_per_10k"], fewest.get(proxy, {}).get("cpu_seconds_per_10k")
                memory = "–" if one["peak_mib"] is None else f"{one['peak_mib']:.0f}"
                lines.append(f"| {callers:,} | {proxy} | {one['requests_per_second']:.0f} | {one['p99_ms']:.1f} | {cpu:.3f} "
                             f"| {f'{cpu / few:.1f}' if few else '–'} | {memory} | {one['errors']:,} |")
    over = php(result)
    if over:
        lines += ["", f"| a call from PHP {result['php']['version']} over {result['php']['round_trip_ms']:.0f} ms | median ms | least | most |",
                  "| --- | ---: | ---: | ---: |"]
        lines += [f"| {WAYS[way]} | {took['median']:.1f} | {took['least']:.1f} | {took['most']:.1f} |"
                  for way, took in over.items()]
    return "\n".join(lines)


def brief(result, say):
    """What matters most of the tables, for who decides whether to use wxgate."""
    reference, rows = result["reference"], summary(result)

    def head(words, proxies):
        names = (say(PROXIES.get(proxy, proxy)) for proxy in proxies)
        return [f"| {words} | {' | '.join(names)} |", "| --- |" + " ---: |" * len(proxies)]

    others = [proxy for proxy in result["versions"] if any(proxy in proxies for proxies in rows.values()) and proxy != reference]
    lines = head(say("CPU a request ({} = 1)", reference), others)
    for load, proxies in rows.items():
        cells = (f"{proxies[proxy]['cpu_seconds_per_10k']['ratio']['median']:.2f}" if proxy in proxies else "–" for proxy in others)
        lines.append(f"| {say(WORKLOADS[load])} | {' | '.join(cells)} |")
    grown = growth(result)
    if grown:
        proxies = [proxy for proxy in result["versions"] if any(proxy in of for of in grown.values())]
        lines += ["", *head(say("callers at once: requests/s (99 of 100 within)"), proxies)]
        for callers, of in grown.items():
            cells = (f"{of[proxy]['requests_per_second']:,.0f} ({of[proxy]['p99_ms']:,.0f} ms)" if proxy in of else "–" for proxy in proxies)
            lines.append(f"| {callers:,} | {' | '.join(cells)} |")
    over = php(result)
    if over:
        lines += ["", say("A call from PHP, with a new connection as PHP-FPM makes it, to an API {:.0f} ms away takes {:.0f} ms direct, "
                          "and {:.0f} ms through wxgate.", result["php"]["round_trip_ms"], over["direct"]["median"],
                          over["wxgate"]["median"])]
    return "\n".join(lines)


def update(path, result):
    for language, say in (("", english), (".zh-CN", chinese)):
        path.with_suffix(f"{language}.svg").write_text(svg(result, say) + "\n")
        between(path.parent.parent / f"README{language}.md", brief(result, say))
    between(path.with_name("README.md"), table(result))


def between(document, text):
    before, rest = document.read_text().split(BEGIN)
    _, after = rest.split(END)
    document.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--table", action="store_true", help="Markdown instead of a picture")
    how.add_argument("--update", action="store_true", help="all, into their files")
    parser.add_argument("result", metavar="RESULT", type=pathlib.Path)
    options = parser.parse_args()
    options.result = options.result.resolve()
    result = json.loads(options.result.read_text())
    if options.update:
        update(options.result, result)
    else:
        sys.stdout.write((table if options.table else svg)(result) + "\n")


if __name__ == "__main__":
    main()
