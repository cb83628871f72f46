#!/usr/bin/env python3
"""Shows what `benches/end-to-end --json RESULT` has measured.

    benches/chart.py RESULT > OUT.svg      a picture: what a call costs beside the first proxy
    benches/chart.py --table RESULT        all medians as tables in Markdown
    benches/chart.py --update RESULT       the picture into RESULT's folder, the tables into README.md there, and what
                                           matters most into README.md and README.zh-CN.md of the folder above

Needs nothing but Python 3.8 or later. It draws and counts; it measures nothing.
"""

import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True
# Beside this file.
from picture import svg  # noqa: E402
from summary import FIGURES, PROXIES, WORKLOADS, caption, growth, php, summary  # noqa: E402

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
        lines += [f"| {WAYS['en'][way]} | {took['median']:.1f} | {took['least']:.1f} | {took['most']:.1f} |"
                  for way, took in over.items()]
    return "\n".join(lines)


WAYS = {"en": {"direct": "direct", "wxgate": "through wxgate"}, "zh": {"direct": "直连", "wxgate": "经过 wxgate"}}
CHINESE = {
    "small GET": "小 GET", "small GET, new connection": "小 GET，每次新建连接", "POST of 300 bytes": "300 字节的 POST",
    "download of 1 MiB": "下载 1 MiB", "upload of 5 MiB": "上传 5 MiB", "HTTPS, small GET": "HTTPS，小 GET",
    "HTTPS, new connection": "HTTPS，每次新建连接", "HTTP/2, small GET": "HTTP/2，小 GET",
    "HTTP/2, POST of 300 bytes": "HTTP/2，300 字节的 POST",
    "nginx, 256 kept": "nginx，保留 256 个", "nginx with Lua": "nginx 加 Lua", "wxgate, optimised": "wxgate 优化构建",
}


def brief(result, language):
    """What matters most of the tables, for who decides whether to use wxgate."""
    chinese = language == "zh"

    def words(english):
        return CHINESE.get(english, english) if chinese else english

    def names(proxies):
        return " | ".join(words(PROXIES.get(proxy, proxy)) for proxy in proxies)

    reference, rows = result["reference"], summary(result)
    others = [proxy for proxy in result["versions"] if any(proxy in proxies for proxies in rows.values()) and proxy != reference]
    head = f"每个请求的 CPU（{reference} = 1）" if chinese else f"CPU a request ({reference} = 1)"
    lines = [f"| {head} | {names(others)} |", "| --- |" + " ---: |" * len(others)]
    for load, proxies in rows.items():
        cells = (f"{proxies[proxy]['cpu_seconds_per_10k']['ratio']['median']:.2f}" if proxy in proxies else "–" for proxy in others)
        lines.append(f"| {words(WORKLOADS[load])} | {' | '.join(cells)} |")
    grown = growth(result)
    if grown:
        proxies = [proxy for proxy in result["versions"] if any(proxy in of for of in grown.values())]
        head = "同时调用的连接数：每秒请求数（99% 在多少毫秒内）" if chinese else "callers at once: requests/s (99 of 100 within)"
        lines += ["", f"| {head} | {names(proxies)} |", "| --- |" + " ---: |" * len(proxies)]
        for callers, of in grown.items():
            cells = (f"{of[proxy]['requests_per_second']:,.0f} ({of[proxy]['p99_ms']:,.0f} ms)" if proxy in of else "–" for proxy in proxies)
            lines.append(f"| {callers:,} | {' | '.join(cells)} |")
    over = php(result)
    if over:
        trip, direct, through = result["php"]["round_trip_ms"], over["direct"]["median"], over["wxgate"]["median"]
        lines += ["", f"PHP 每次新建连接调用往返 {trip:.0f} 毫秒以外的接口：直连 {direct:.0f} 毫秒，经过 wxgate {through:.0f} 毫秒。" if chinese else
                  f"A call from PHP, with a new connection as PHP-FPM makes it, to an API {trip:.0f} ms away takes {direct:.0f} ms direct, "
                  f"and {through:.0f} ms through wxgate."]
    return "\n".join(lines)


def update(path, result):
    path.with_suffix(".svg").write_text(svg(result) + "\n")
    for document, text in ((path.with_name("README.md"), table(result)),
                           (path.parent.parent / "README.md", brief(result, "en")),
                           (path.parent.parent / "README.zh-CN.md", brief(result, "zh"))):
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
