"""What the soak run is made of: counts and complaints, disturbances, the line that is cut, processes, answers.

It knows nothing of who calls what; see `tests/soak.py`.
"""

import asyncio
import base64
import collections
import contextlib
import ctypes
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def new_key(name):
    return "%s-k3y-%s" % (name, base64.b32encode(os.urandom(10)).decode().lower())


# Of the callers: the one that all kinds of calls are made with, one with limits, one that gets the real token. Of the
# admin listener, and of Redis.
KEY, LIMITED_KEY, CENTRAL_KEY, ADMIN_KEY, STORE_KEY = map(new_key, ("soak", "limited", "central", "admin", "store"))
SECRET, WECOM_SECRET = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210fedcba98765"
SECRETS = (KEY, LIMITED_KEY, CENTRAL_KEY, ADMIN_KEY, STORE_KEY, SECRET, WECOM_SECRET)
# What the sandbox's tokens look like; nothing else in any answer or log line does.
TOKEN_SHAPE = re.compile(r"\b\d\d_[A-Za-z0-9_-]{120,}")
# Of its tickets.
TICKET_SHAPE = re.compile(r"\b[A-Za-z0-9]{86}\b")
# Calls a second of the caller with limits, and at one moment.
RATE, CONCURRENT = 20, 3
APPIDS, CORPID = ["wx00000000000000a1", "wx00000000000000a2"], "ww00000000000000c1"
PREFIXES = ["", "/shop"]
OPENIDS = ["oSandboxFollower%012d" % n for n in (1, 2, 3)]
CUT = "line cut"
SO_ATTACH_FILTER = 26
TOKEN_ERRORS = (40001, 40014, 42001)
# How long after a disturbance a call may begin and still fail of it: an ordered failure waits for its call, and a
# fetch that failed is tried again after a second or two. Calls that were under way then count anyway.
AFTERMATH = 3.0
# What failures of the sandbox look like to a caller: passed on, or an own answer in their place.
PASSED_ON = {-1}
# How long after a line was cut a POST may meet a connection that died with it: 5 s after the first call of each worker
# has met one to the same host, and that may take a moment.
DEAD_LINE = 6.0
# The errcode of early answers, which is also that of an upload that is too large.
EARLY = 40009
PASSING = {"upstream-unreachable", "upstream-timeout", "no-token"}


class Report:
    """Counts and complaints of all threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = {name: collections.Counter() for name in (
            "requests", "own errors", "retry", "errcodes passed on", "broken", "events", "expected")}
        self.wrong = collections.Counter()
        self.examples = {}
        self.slowest_after_cut = 0.0

    def count(self, group, name, n=1):
        with self.lock:
            self.counts[group][name] += n

    def fail(self, what, example):
        with self.lock:
            self.wrong[what] += 1
            if self.wrong[what] <= 20:
                self.examples.setdefault(what, []).append("%s %s" % (time.strftime("%H:%M:%S"), example))


class Disturbances:
    """When something was done that may break a call. A cut line is judged by itself: see `cut_at`."""

    def __init__(self):
        self.lock = threading.Lock()
        self.spans = collections.deque(maxlen=10000)

    def begin(self, what):
        span = [what, time.monotonic(), None]
        with self.lock:
            self.spans.append(span)
        return span

    @staticmethod
    def end(span):
        span[2] = time.monotonic()

    def at(self, begun, ended, *names):
        """Whether one of these was under way, or had just been, at any time between the two."""
        with self.lock:
            return any(
                (not names or what in names) and start <= ended and (end is None or begun <= end + AFTERMATH)
                for what, start, end in self.spans if what != CUT)

    def cut_at(self, begun, ended, method):
        """Whether a line that was cut may have broken this call."""
        after = DEAD_LINE if method == "POST" else 0
        with self.lock:
            return any(what == CUT and start <= ended and (end is None or begun <= end + after)
                       for what, start, end in self.spans)

    def after_cut(self, begun):
        """Whether a line was cut in the seconds before."""
        with self.lock:
            return any(what == CUT and end is not None and end <= begun <= end + DEAD_LINE
                       for what, _, end in self.spans)


class Line:
    """Carries bytes between wxgate and the sandbox, in a thread of its own, until it is cut.

    Plain sockets: asyncio's streams give up reading where writing fails, and an early answer would be lost here.
    """

    def __init__(self, name, to):
        self.name, self.to, self.open, self.dead = name, to, set(), []
        self.loop = asyncio.new_event_loop()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self.listen(), self.loop)

    async def listen(self):
        while True:
            here, _ = await self.loop.sock_accept(self.listener)
            self.loop.create_task(self.carry(here))

    async def carry(self, here):
        there = socket.socket()
        for each in (here, there):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self.loop.sock_connect(there, ("127.0.0.1", self.to))
        except OSError:
            reset(here)
            return
        ways = tuple(self.loop.create_task(way) for way in (self.copy(here, there), self.copy(there, here)))
        connection = (here, ways)
        self.open.add(connection)
        await asyncio.wait(ways)
        there.close()
        if connection in self.open:
            self.open.discard(connection)
            # An end that was no end of file stays one.
            if all(way.result() for way in ways):
                here.close()
            else:
                reset(here)

    async def copy(self, here, there):
        """Whether it ended with an end of file."""
        try:
            while True:
                data = await self.loop.sock_recv(here, 1 << 16)
                if not data:
                    there.shutdown(socket.SHUT_WR)
                    return True
                await self.loop.sock_sendall(there, data)
        except OSError:
            # The other way goes on: what was answered before this broke still has to arrive.
            with contextlib.suppress(OSError):
                here.shutdown(socket.SHUT_RD)
            return False
        except asyncio.CancelledError:
            return False

    def cut(self):
        """All connections of this moment are dead: nothing that wxgate sends comes through, and nobody is told.

        What wxgate had not acknowledged yet, the kernel goes on sending to it, since no acknowledgement arrives.
        """
        return asyncio.run_coroutine_threadsafe(self.cut_all(), self.loop).result(10)

    async def cut_all(self):
        cut, self.open = self.open, set()
        for here, ways in cut:
            # A filter that takes no byte of any packet: the kernel drops what comes before it acknowledges it.
            nothing = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
            program = struct.pack("HP", 1, ctypes.addressof(nothing))
            here.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
            for way in ways:
                way.cancel()
        # Long after wxgate has given them up their descriptors are given back.
        self.dead.append(cut)
        self.loop.call_later(90, self.bury)
        return len(cut)

    def bury(self):
        for here, _ in self.dead.pop(0):
            reset(here)


def reset(connection):
    """Ends a connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Process:
    """wxgate in one of its roles."""

    def __init__(self, name, arguments, log):
        self.name, self.log = name, open(log, "ab")
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=self.log)

    def await_port(self, port):
        deadline = time.monotonic() + 20
        while True:
            if self.process.poll() is not None:
                raise SystemExit("%s ended with %s; see its log" % (self.name, self.process.returncode))
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise SystemExit("%s does not listen" % self.name)
                time.sleep(0.02)

    def figures(self):
        """Resident memory and its peak in KiB, and open descriptors."""
        proc = "/proc/%d" % self.process.pid
        with open(proc + "/status") as file:
            status = dict(line.split(":", 1) for line in file)
        kib = [int(status[key].split()[0]) for key in ("VmRSS", "VmHWM")]
        try:
            files = len(os.listdir(proc + "/fd"))
        except PermissionError:
            files = os.stat(proc + "/fd").st_size
        return {"rss": kib[0], "peak": kib[1], "fds": files}

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.log.close()
        return code


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.own, self.retry = headers.get("x-wxgate-error"), headers.get("x-wxgate-retry")
        try:
            self.json = json.loads(body)
        except ValueError:
            self.json = None
        found = self.json.get("errcode", 0) if isinstance(self.json, dict) else 0
        self.errcode = found if isinstance(found, int) else 0


def quoted(name):
    """A file of the repository as a TOML string."""
    return json.dumps(os.path.join(ROOT, name))


def free_ports(count):
    """Below those of outgoing connections, one of which would keep a process that is started again from its port."""
    ports = set()
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            ports.add(port)
    return list(ports)


def leaked(text, tickets):
    """The secret, token or ticket that stands in it, shortened."""
    found = [secret for secret in SECRETS if secret in text] + TOKEN_SHAPE.findall(text)
    found += [ticket for ticket in TICKET_SHAPE.findall(text) if ticket in tickets]
    return found and found[0][:12] + "..."
