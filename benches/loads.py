"""The loads of `benches/end-to-end`, and the programs that make them: wrk, and h2load for HTTP/2.

One run here is one load on one proxy, with its figures; which runs there are, and in which order, end-to-end knows.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time

from configurations import FOLLOWER
from servers import machine_seconds, say

MIB = 1 << 20
USER_INFO = "/cgi-bin/user/info?openid=o6_bmjrPTlm6_2sgVt7hMZOPfL2M&lang=zh_CN"
MESSAGE = json.dumps({"touser": "o6_bmjrPTlm6_2sgVt7hMZOPfL2M", "msgtype": "text", "text": {"content": "m" * 208}})
GET = dict(path=USER_INFO, callers=64, least=len(FOLLOWER))
POST = dict(path="/cgi-bin/message/custom/send", callers=64, least=1, body="message")

# The names are those of chart.py; `least` is what an answer's body has to have at least. With `streams` they are
# those of HTTP/2 on each connection.
LOADS = {
    "get": GET,
    "get-close": dict(GET, close=True),
    "post": POST,
    "download": dict(path="/cgi-bin/media/get?media_id=M1", callers=8, least=MIB),
    "upload": dict(path="/cgi-bin/media/upload?type=image", callers=4, least=1, body="upload"),
    "https": dict(GET, tls=True),
    "https-close": dict(GET, tls=True, close=True),
    "h2": dict(GET, tls=True, callers=16, streams=8),
    "h2-post": dict(POST, tls=True, callers=16, streams=8),
    # Of connecting, a long run has less.
    "get-1000": dict(GET, callers=1000),
    "get-10000": dict(GET, callers=10_000, longer=2),
}

# One request for wrk, and its figures as JSON. Arguments: a body's file or "", then whether to close.
WRK = """
function init(args)
  if args[1] ~= "" then
    wrk.method = "POST"
    local file = assert(io.open(args[1], "rb"))
    wrk.body = file:read("*a")
    file:close()
  end
  if args[2] == "close" then wrk.headers["Connection"] = "close" end
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\\n@{"requests":%d,"bytes":%d,"seconds":%f,"errors":%d,"p99_ms":%.2f}\\n', summary.requests,
    summary.bytes, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(99) / 1000))
end
"""


def make_inputs(folder):
    folder.chmod(0o755)
    (folder / "message").write_text(MESSAGE)
    (folder / "media").write_bytes(os.urandom(MIB))
    (folder / "upload").write_bytes(os.urandom(5 * MIB))
    (folder / "wrk.lua").write_text(WRK)


def wrk(tool, load, url, seconds, folder, threads):
    said = output([tool, "-t", str(min(threads, load["callers"])), "-c", str(load["callers"]), "-d", f"{seconds}s",
                   "--timeout", "10s", "-s", folder / "wrk.lua", url, "--",
                   folder / load["body"] if "body" in load else "", "close" if load.get("close") else "keep"])
    line = next((line[1:] for line in said.splitlines() if line.startswith("@")), None)
    return json.loads(line) if line else sys.exit(f"wrk failed:\n{said}")


def h2load(tool, load, url, seconds, folder, threads):
    body = ["-d", folder / load["body"], "-H", "content-type: application/json"] if "body" in load else []
    said = output([tool, "-t", str(min(threads, load["callers"])), "-c", str(load["callers"]), "-m", str(load["streams"]),
                   "-D", str(seconds), *body, url])
    finished = re.search(r"finished in .*, ([\d.]+) req/s", said)
    requests = re.search(r"(\d+) succeeded, (\d+) failed", said)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
    data = re.search(r"\((\d+)\) data", said)
    if not (finished and requests and codes and data):
        sys.exit(f"h2load failed:\n{said}")
    # At the end streams are cut off of which the status has come, but not all data.
    good = int(requests[1])
    return {"requests": good, "bytes": int(data[1]), "seconds": good / float(finished[1]) if good else 0,
            "errors": int(requests[2]) + sum(map(int, codes.groups()[1:]))}


def output(command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def run(name, server, upstream, tools, seconds, folder, load_cpus):
    """The figures of a load on `server` for `seconds`, and what others took of the machine meanwhile; None, and a line,
    where answers were broken, or none came in that time."""
    load = LOADS[name]
    at = f"https://localhost:{server.tls_port}" if load.get("tls") else f"http://127.0.0.1:{server.port}"
    url = at + load["path"]
    client = h2load if "streams" in load else wrk

    def ours():
        # os.times() has this program and those of its children that have ended, wrk among them.
        return sum(os.times()[:4]) + server.cpu_seconds() + upstream.cpu_seconds()

    cpu, own, everyone, began = server.cpu_seconds(), ours(), machine_seconds(), time.monotonic()
    with PeakMemory(server) as memory:
        did = client(tools[client.__name__], load, url, seconds * load.get("longer", 1), folder, load_cpus)
    wall = time.monotonic() - began
    cpu, own, everyone = server.cpu_seconds() - cpu, ours() - own, machine_seconds() - everyone
    # With thousands of callers errors are a figure.
    if did["errors"] and load["callers"] < 1000 or did["bytes"] < load["least"] * did["requests"]:
        return say(f"{server.kind}: broken, refused or short answers in {url}: {did}")
    if not did["requests"]:
        return say(f"{server.kind}: no answers in {url}: {did}")
    return {"requests_per_second": round(did["requests"] / did["seconds"], 1),
            "cpu_seconds_per_10k": round(cpu / did["requests"] * 10_000, 4),
            "peak_mib": memory.peak and round(memory.peak, 1),
            **{figure: did[figure] for figure in ("p99_ms", "errors") if figure in did},
            "callers": load["callers"],
            "others": round(max(0, everyone - own) / wall / os.cpu_count(), 3)}


class PeakMemory(threading.Thread):
    """The most memory seen from `with` to its end, looked at four times a second."""

    def __init__(self, server):
        super().__init__()
        self.server, self.over, self.peak = server, threading.Event(), None

    def run(self):
        while not self.over.wait(0.25):
            now = self.server.memory_mib()
            if now is not None:
                self.peak = max(now, self.peak or 0)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
