"""What the runs of `benches/end-to-end --json RESULT` come to: medians, and ratios within the same round.

It counts; the tables are in chart.py, the picture is in picture.py.
"""

import statistics

from words import english

# Names of the result and what they stand for, as words.py knows it; in the order in which they are shown.
WORKLOADS = {
    "get": "small GET",
    "get-close": "small GET, new connection",
    "post": "POST of 300 bytes",
    "download": "download of 1 MiB",
    "upload": "upload of 5 MiB",
    "https": "HTTPS, small GET",
    "https-close": "HTTPS, new connection",
    "h2": "HTTP/2, small GET",
    "h2-post": "HTTP/2, POST of 300 bytes",
}
# The first has as many callers as most of the loads above, and is one of them.
GROWTH = ("get", "get-1000", "get-10000")
MODES = {
    "pinned": "each proxy alone on one core, one worker",
    "shared": "proxy, load and upstream share all cores, a worker for each core",
}
PROXIES = {"nginx-256": "nginx, 256 kept", "nginx-lua": "nginx with Lua", "haproxy": "HAProxy", "optimised": "wxgate, optimised"}
WAYS = {"direct": "direct", "wxgate": "through wxgate"}
FIGURES = ("requests_per_second", "cpu_seconds_per_10k", "peak_mib")


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def summary(result):
    """`[workload][proxy][figure]`: the spread of the values, and of the ratios to the reference in the same round. What
    was not measured is not in it."""
    runs = {(run["workload"], run["proxy"], run["round"]): run for run in result["runs"]}
    out = {}
    for workload in WORKLOADS:
        for proxy in result["versions"]:
            rounds = [number for load, name, number in sorted(runs) if (load, name) == (workload, proxy)]
            if not rounds:
                continue
            figures = out.setdefault(workload, {}).setdefault(proxy, {})
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


def growth(result):
    """`[callers][proxy]`: medians of requests a second, of the milliseconds that 99 of 100 calls took at most, and of CPU
    seconds for 10,000 requests; the most memory, and all errors. Empty where no such load was measured."""
    out = {}
    for workload in GROWTH:
        for proxy in result["versions"]:
            # An older result has no such figures of `get`.
            runs = [run for run in result["runs"] if (run["workload"], run["proxy"]) == (workload, proxy) and "p99_ms" in run]
            if runs:
                middle = {figure: statistics.median(run[figure] for run in runs)
                          for figure in ("requests_per_second", "p99_ms", "cpu_seconds_per_10k")}
                memory = [run["peak_mib"] for run in runs if run["peak_mib"] is not None]
                out.setdefault(runs[0]["callers"], {})[proxy] = {
                    **middle, "peak_mib": max(memory, default=None), "errors": sum(run["errors"] for run in runs)}
    many = list(out.values())[1:]
    return {callers: {proxy: one for proxy, one in proxies.items() if any(proxy in of for of in many)}
            for callers, proxies in out.items()} if many else {}


def php(result):
    """`{way: spread of milliseconds}` of all calls, or None."""
    measured = result.get("php")
    return measured and {way: spread([ms for calls in measured["rounds"] for ms in calls[way]])
                         for way in measured["rounds"][0]}


def caption(result, say=english):
    machine = result["machine"]
    return say("{}, {}, {} cores, Linux {}; {}; medians of {} rounds of {} s", result["date"], machine["cpu"],
               machine["cores"], machine["kernel"], say(MODES[result["mode"]]), result["rounds"], result["seconds"])
