"""The picture of a result: what a call costs beside nginx, over a path with a delay, and with many callers.

It draws what summary.py has counted; a part whose figures a result has not is left out.
"""

import html

from summary import PROXIES, WAYS, WORKLOADS, caption, growth, php, summary
from words import english

# A card of its own in both modes: a picture in a page does not know the page's colours for sure.
STYLE = """
  .card { fill: #ffffff; stroke: #d1d9e0; }
  text { fill: #1f2328; font: 13px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; }
  .title { font-size: 16px; font-weight: 600; }
  .head { font-weight: 600; }
  .quiet { fill: #59636e; font-size: 12px; }
  .axis { stroke: #59636e; }
  .range { stroke: #1f2328; stroke-opacity: .55; }
  .wxgate { fill: #8250df; } .optimised { fill: #1a7f37; } .nginx { fill: #57606a; } .nginx-256 { fill: #afb8c1; }
  .nginx-lua { fill: #0969da; } .haproxy { fill: #bc4c00; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #3d444d; }
    text { fill: #f0f6fc; }
    .quiet { fill: #9198a1; }
    .axis { stroke: #9198a1; }
    .range { stroke: #f0f6fc; }
    .wxgate { fill: #ab7df8; } .optimised { fill: #3fb950; } .nginx { fill: #8b949e; } .nginx-256 { fill: #484f58; }
    .nginx-lua { fill: #4493f8; } .haproxy { fill: #db6d28; }
  }
"""
# What the picture leaves to the table: these swing most.
LEFT_OUT = ("download", "upload")
# In the order of the bars.
ORDER = ("optimised", "wxgate", "nginx", "nginx-256", "haproxy", "nginx-lua")
WIDTH, TOP, BAR, BETWEEN = 960, 128, 13, 14
# Where a side's words end and its bars begin, and how long the longest bar and its figures are.
LEFT, RIGHT = 210, 584
LEFT_BARS, RIGHT_BARS = 230, 205


class Picture:
    """Parts of a picture, with words that `say` translates."""

    def __init__(self, say):
        self.out, self.say = [], say

    def text(self, x, y, words, kind="", anchor="start"):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{html.escape(words)}</text>')

    def bar(self, x, y, length, kind):
        self.out.append(f'<rect x="{x}" y="{y + 1}" width="{length:.1f}" height="{BAR - 2}" class="{kind}"/>')

    def line(self, d, kind, more=""):
        self.out.append(f'<path d="{d}" class="{kind}"{more}/>')


def in_order(proxies):
    """Other names, those of other builds, come last."""
    return sorted(proxies, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def kind(proxy):
    return proxy.partition("@")[0]


def svg(result, say=english):
    picture = Picture(say)
    reference = result["reference"]
    grown, over = growth(result), php(result)
    shown = {proxy for proxies in summary(result).values() for proxy in proxies} - {reference}
    title = say("What a call costs, beside {}", reference)
    picture.text(24, 32, title, "title")
    picture.text(24, 54, caption(result, say), "quiet")
    x = 24
    for proxy in in_order(shown | ({proxy for proxies in grown.values() for proxy in proxies})):
        words = say(PROXIES.get(proxy, proxy))
        picture.bar(x, 71, 11, kind(proxy))
        picture.text(x + 17, 82, words)
        # Chinese characters are twice as wide.
        x += 40 + 7 * sum(2 if letter > "\u2e80" else 1 for letter in words)
    bottom = costs(picture, result, TOP)
    y = TOP
    if over:
        y = calls_from_php(picture, result, over, y) + 30
    if grown:
        y = many_callers(picture, grown, y)
    height = max(bottom, y if over or grown else 0) + 16
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{html.escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6" class="card"/>',
        *picture.out,
        "</svg>",
    ])


def costs(picture, result, top):
    """CPU a request of each proxy under each load: a line for the reference at 1, and a bar for each of the others."""
    reference, y = result["reference"], top
    rows = {load: {proxy: figures["cpu_seconds_per_10k"]["ratio"] for proxy, figures in proxies.items() if proxy != reference}
            for load, proxies in summary(result).items() if load not in LEFT_OUT}
    most = max([1.25] + [ratio["most"] for proxies in rows.values() for ratio in proxies.values()])
    scale = (LEFT_BARS - 36) / most
    picture.text(24, top - 14, picture.say("CPU a request, that of {} = 1 (shorter is better)", reference), "head")
    for load, proxies in rows.items():
        picture.text(LEFT - 10, y + len(proxies) * BAR / 2 + 4, picture.say(WORKLOADS[load]), anchor="end")
        for proxy in in_order(proxies):
            ratio = proxies[proxy]
            picture.bar(LEFT, y, ratio["median"] * scale, kind(proxy))
            picture.line(f"M{LEFT + ratio['least'] * scale:.1f} {y + BAR / 2}H{LEFT + ratio['most'] * scale:.1f}", "range")
            picture.text(LEFT + LEFT_BARS, y + BAR - 2, f"{ratio['median']:.2f}", anchor="end")
            y += BAR
        y += BETWEEN
    picture.line(f"M{LEFT + scale:.1f} {top - 6}V{y - BETWEEN + 6}", "axis", ' stroke-dasharray="3 3"')
    return y


def calls_from_php(picture, result, over, top):
    """Two bars: how long a call takes."""
    start = RIGHT - 100
    head = picture.say("A call from PHP over {:.0f} ms, in ms (shorter is better)", result["php"]["round_trip_ms"])
    picture.text(start, top - 14, head, "head")
    scale = (RIGHT_BARS - 10) / max(way["median"] for way in over.values())
    y = top
    for way, took in over.items():
        picture.text(RIGHT - 10, y + BAR - 2, picture.say(WAYS[way]), anchor="end")
        picture.bar(RIGHT, y, took["median"] * scale, "optimised" if way == "wxgate" else "nginx")
        picture.text(RIGHT + took["median"] * scale + 8, y + BAR - 2, f"{took['median']:.0f}")
        y += BAR + 4
    return y


def many_callers(picture, grown, top):
    """Requests a second of each proxy with more and more callers, and what 99 of 100 of them took at most."""
    start, y = RIGHT - 100, top + 8
    picture.text(start, y - 14, picture.say("Requests a second, all callers at once (longer is better)"), "head")
    picture.text(start, y + 3, picture.say("and within how many ms 99 of 100 calls were answered"), "quiet")
    scale = RIGHT_BARS / max(one["requests_per_second"] for proxies in grown.values() for one in proxies.values())
    y += 14
    for callers, proxies in grown.items():
        picture.text(RIGHT - 10, y + len(proxies) * BAR / 2 + 4, picture.say("{:,} callers", callers), anchor="end")
        for proxy in in_order(proxies):
            one = proxies[proxy]
            picture.bar(RIGHT, y, one["requests_per_second"] * scale, kind(proxy))
            words = f"{one['requests_per_second']:,.0f}, {one['p99_ms']:,.0f} ms"
            if one["errors"]:
                words += picture.say(", {:,} errors", one["errors"])
            picture.text(RIGHT + one["requests_per_second"] * scale + 8, y + BAR - 2, words)
            y += BAR
        y += BETWEEN
    return y
