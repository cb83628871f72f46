#!/usr/bin/env python3
"""Soak run: wxgate under mixed load and disturbances for a while, and what came of it.

    tests/soak.py [--seconds 1200] [--wxgate target/release/wxgate] [--keep]

Not part of CI. Needs Python 3.8 or later and nothing beside; everything listens on loopback, and it ends by
itself a few seconds after the time given. It starts `wxgate sandbox` (HTTPS), a line between the two that can be cut,
and `wxgate serve` (two accounts, one caller key, plain and HTTPS listeners), and mixes:

  calls          keep-alive and one connection per call, http and https, GETs and POSTs, both accounts
  media          uploads of 5 MiB, downloaded again and compared byte for byte; uploads of 18 MiB, too large to repeat
  renewals       tokens live for 90 s, so that each is renewed ahead of time several times
  token thefts   a few at the beginning, then one a minute for both accounts together, now and then a token that
                 is over (42001), or a fetch that fails first. With the restarts of the sandbox that is less than the
                 bucket of forced refreshes gains, so that `refresh-limited` should stay rare
  lagging nodes  a third or half of the calls refuse a new token for a second (40001), or one in a hundred
                 refuses a token at random, whatever its age
  dead lines     all connections to the sandbox stay open and carry nothing any more, not even an acknowledgement
  early answers  an upload is answered after its first 64 KiB, and the connection is closed
  sandbox        resets, answers that hang past response_timeout, status 502, errcode -1, also for token calls;
                 and it is killed and started again on its port, which ends all its tokens (40001)
  slow callers   a head or a body byte by byte, heads that never end, downloads read slowly
  disconnects    after the request, in the middle of an upload, in the middle of a download
  strangers      calls without the key
  reloads        SIGHUP every few seconds with another limit, a third account that comes and goes, and at times
                 a file that is wrong
  a restart      of wxgate itself, after a fifth of the time: SIGTERM, a clean end, the same state directory

Every call carries a marker that its answer repeats: `lang` of user/info, `expire_seconds` of qrcode/create, the
bytes of a picture. What must hold, or the exit code is 1:

  - no crossed answer: an answer never carries another request's marker;
  - no token error (40001, 40014, 42001) without `x-wxgate-retry` reaches a caller;
  - no failure without a cause: broken connections and own answers 502, 503 and 504 occur only where a disturbance
    was under way, and no well-formed call of a known caller gets another own answer. Lagging nodes and early answers
    are no cause. A dead line is one for calls that were in flight when it was cut, and for 5 s for POSTs, which may have
    been executed; a GET that begins later has to be answered;
  - wxgate ends with 0 when told to, never by itself, and its log holds no panic, no key and no secret;
  - descriptors and memory at the end are what they were after the warm-up, within bounds.

Memory and descriptors are read with all callers idle, of the process that serves after the restart: at its
beginning (after a warm-up) and at the end. wxgate is not dumpable, so that only root can list its descriptors; for
others their number is read as Linux 6.2 and later tell it.
"""

import argparse
import asyncio
import base64
import collections
import contextlib
import ctypes
import http.client
import itertools
import json
import os
import random
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KEY = "soak-k3y-" + base64.b32encode(os.urandom(10)).decode().lower()
SECRET = "0123456789abcdef0123456789abcdef"
APPIDS = ["wx00000000000000a1", "wx00000000000000a2"]
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
# How long a POST may meet a connection that died without a word.
DEAD_LINE = 5.0
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
            return any(what == CUT and start <= ended and begun <= start + after for what, start, _ in self.spans)

    def after_cut(self, begun):
        """Whether a line was cut in the seconds before."""
        with self.lock:
            return any(what == CUT and start <= begun <= start + DEAD_LINE for what, start, _ in self.spans)


class Line:
    """Carries bytes between wxgate and the sandbox, in a thread of its own, until it is cut.

    Plain sockets: asyncio's streams give up reading where writing fails, and an early answer would be lost here.
    """

    def __init__(self, to):
        self.to, self.open, self.dead = to, set(), []
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
        """All connections of this moment are dead: nothing comes through, and nobody is told."""
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


class Soak:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.report, self.disturbances = Report(), Disturbances()
        self.stopping, self.resting = threading.Event(), threading.Event()
        self.busy = 0
        self.busy_lock = threading.Lock()
        # A restart must find a file that is right, and no signal may come before it is listened for.
        self.config_lock = threading.Lock()
        self.numbers = itertools.count(1)
        self.ports = free_ports(3)
        self.early_ordered = 0
        self.sandbox_port, self.http_port, self.https_port = self.ports
        self.trust = ssl.create_default_context(cafile=os.path.join(ROOT, "certs/ca.pem"))
        self.sandbox = self.gate = None
        self.figures = []

    # -- processes ---------------------------------------------------------------------------------------

    def path(self, name):
        return os.path.join(self.folder, name)

    def start_sandbox(self):
        arguments = [self.options.wxgate, "sandbox", "--listen", "127.0.0.1:%d" % self.sandbox_port,
                     "--api-quota", "0", "--token-ttl", "90s", "--overlap", "20s"]
        for appid in APPIDS + ["wx00000000000000a3"]:
            arguments += ["--appid", appid, "--secret", SECRET]
        self.sandbox = Process("the sandbox", arguments, self.path("sandbox.log"))
        self.sandbox.await_port(self.sandbox_port)

    def start_gate(self):
        arguments = [self.options.wxgate, "serve", "--config", self.path("wxgate.toml")]
        self.gate = Process("wxgate", arguments, self.path("wxgate.log"))
        self.gate.await_port(self.http_port)
        self.gate.await_port(self.https_port)

    def write_config(self, variant=0, wrong=False):
        accounts = list(zip(("main", "shop", "guest"), APPIDS + ["wx00000000000000a3"], PREFIXES + ["/guest"]))
        text = """
listen = ["127.0.0.1:%d"]
state_dir = "state"
log_format = "json"
[tls]
listen = ["127.0.0.1:%d"]
cert = %s
key = %s
[upstream]
url = "https://127.0.0.1:%d"
ca = %s
response_timeout = "8s"
[limits]
header_timeout = "6s"
max_connections = %d
[[caller]]
name = "soak"
key = { file = "caller.key" }
""" % (self.http_port, self.https_port, quoted("certs/server.pem"), json.dumps(self.path("server.key")),
            self.line.port, quoted("certs/ca.pem"), 2000 + variant)
        # The third account comes and goes.
        for name, appid, prefix in accounts[: 2 + variant % 2]:
            text += '[[account]]\nname = "%s"\nappid = "%s"\nsecret = { file = "appsecret" }\nprefix = "%s"\n' % (
                name, appid, prefix)
        if wrong:
            text += "pathz = 7\n"
        new = self.path("wxgate.toml.new")
        with open(new, "w") as file:
            file.write(text)
        os.chmod(new, 0o600)
        os.rename(new, self.path("wxgate.toml"))

    # -- calling -----------------------------------------------------------------------------------------

    def connect(self, tls):
        if tls:
            return http.client.HTTPSConnection("127.0.0.1", self.https_port, timeout=30, context=self.trust)
        return http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)

    def headers(self):
        if random.random() < 0.5:
            return {"X-Wxgate-Key": KEY}
        return {"Authorization": "Basic " + base64.b64encode(b"soak:" + KEY.encode()).decode()}

    def exchange(self, connection, method, target, body=None, kind="", **headers):
        """One call; None when the connection broke, which has then been judged."""
        begun, answering = time.monotonic(), False
        self.report.count("requests", kind)
        try:
            chunked = "Transfer-Encoding" in headers
            try:
                connection.request(method, target, body, {**self.headers(), **headers}, encode_chunked=chunked)
            except (BrokenPipeError, ConnectionResetError):
                # An answer may be there all the same: it came before the end of the body.
                pass
            response = connection.getresponse()
            answering = True
            answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self.broke(begun, kind, error, answering, method)
            return None
        self.judge(answer, begun, kind, method)
        return answer

    def broke(self, begun, kind, error, answering=False, method="GET"):
        """A connection that broke; `answering`: after the head of an answer had come."""
        now, text = time.monotonic(), "%s: %r" % (kind, error)
        cause = "wxgate restarted" if self.disturbances.at(begun, now, "wxgate restart") else None
        # What has begun to flow can only be broken off when the upstream dies; before that there is an own answer.
        if cause is None and answering and not isinstance(error, socket.timeout):
            if self.disturbances.at(begun, now, "sandbox restart", "sandbox failure"):
                cause = "upstream broke off"
            elif self.disturbances.cut_at(begun, now, method):
                cause = "line cut"
        if cause is None:
            self.report.fail("broken connection without a cause", text)
        else:
            self.report.count("broken", "%s (%s)" % (type(error).__name__, cause))

    def judge(self, answer, begun, kind, method="GET"):
        now = time.monotonic()
        if method == "GET" and self.disturbances.after_cut(begun) and not self.disturbances.at(begun, now):
            with self.report.lock:
                self.report.slowest_after_cut = max(self.report.slowest_after_cut, now - begun)
        about = "%s: %d %s %r" % (kind, answer.status, answer.own or answer.retry or "-", answer.body[:200])
        if answer.retry:
            self.report.count("retry", answer.retry)
        if answer.own:
            self.report.count("own errors", answer.own)
            if answer.own not in PASSING:
                self.report.fail("own answer %s to a good call" % answer.own, about)
            elif not self.disturbances.at(begun, now) and not self.disturbances.cut_at(begun, now, method):
                after = " after a line was cut" if self.disturbances.after_cut(begun) else ""
                self.report.fail("own answer %s without a cause%s" % (answer.own, after), about)
            return
        if answer.errcode in TOKEN_ERRORS:
            if answer.retry:
                self.report.count("errcodes passed on", "%d (x-wxgate-retry)" % answer.errcode)
            else:
                self.report.fail("token error without x-wxgate-retry", about)
        elif answer.errcode or answer.status != 200:
            name = str(answer.errcode) if answer.errcode else "HTTP %d" % answer.status
            self.report.count("errcodes passed on", name)
            gone_medium = answer.errcode == 40007
            if answer.errcode == EARLY and kind.startswith("upload"):
                with self.report.lock:
                    early = self.report.counts["errcodes passed on"][name]
                if kind == "upload 5 MiB" and early > self.early_ordered + self.report.counts["requests"]["upload 18 MiB"]:
                    self.report.fail("an answer that nobody ordered", about)
            elif not gone_medium and (answer.errcode not in PASSED_ON | {0} or answer.status not in (200, 502)):
                self.report.fail("an answer that nobody ordered", about)
            elif not self.disturbances.at(begun, now):
                self.report.fail("a failure without a cause", about)

    def good(self, answer):
        return answer is not None and answer.status == 200 and not answer.own and not answer.errcode

    def crossed(self, kind, wanted, answer):
        self.report.fail("crossed answer", "%s: wanted %s, got %r" % (kind, wanted, answer.body[:300]))

    def user_info(self, connection, kind, **headers):
        marker, openid = "m%d" % next(self.numbers), random.choice(OPENIDS)
        stale = random.choice(["", "access_token=STALE-TOKEN&", "access_token=&"])
        target = "%s/cgi-bin/user/info?%sopenid=%s&lang=%s" % (random.choice(PREFIXES), stale, openid, marker)
        answer = self.exchange(connection, "GET", target, kind=kind, **headers)
        if self.good(answer):
            got = (answer.json.get("language"), answer.json.get("openid")) if answer.json else None
            if got != (marker, openid):
                self.crossed(kind, (marker, openid), answer)
        return answer

    def qrcode(self, connection, kind):
        marker = next(self.numbers)
        body = json.dumps({"expire_seconds": marker, "action_name": "QR_SCENE", "fill": "x" * random.choice(
            (0, 100, 3000, 60000))}).encode()
        if random.random() < 0.3:
            # Without a length: wxgate counts.
            pieces = [body[n:n + 1000] for n in range(0, len(body), 1000)]
            answer = self.exchange(connection, "POST", "%s/cgi-bin/qrcode/create" % random.choice(PREFIXES),
                                   iter(pieces), kind=kind, **{"Transfer-Encoding": "chunked"})
        else:
            answer = self.exchange(connection, "POST", "%s/cgi-bin/qrcode/create" % random.choice(PREFIXES),
                                   body, kind=kind)
        if self.good(answer) and (answer.json or {}).get("expire_seconds") != marker:
            self.crossed(kind, marker, answer)

    # -- kinds of callers: each is one turn, called again and again -------------------------------------------

    def caller(self, tls, keep):
        name = "%s %s" % ("https" if tls else "http", "keep-alive" if keep else "close")
        connection = self.connect(tls)
        try:
            for _ in range(200 if keep else 1):
                if self.stopping.is_set() or self.resting.is_set():
                    return
                extra = {} if keep else {"Connection": "close"}
                if random.random() < 0.3:
                    self.qrcode(connection, name + " POST")
                else:
                    self.user_info(connection, name + " GET", **extra)
                time.sleep(random.uniform(0, 0.03))
        finally:
            connection.close()

    def picture(self):
        connection = self.connect(random.random() < 0.5)
        try:
            number = next(self.numbers)
            # More than can be kept for a second sending, and more than a picture may have.
            large = random.random() < 0.15
            kind = "upload 18 MiB" if large else "upload 5 MiB"
            picture = (b"picture %020d " % number) * ((18 if large else 5) * 1024 * 1024 // 29)
            begin = b'--b\r\nContent-Disposition: form-data; name="media"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
            prefix = random.choice(PREFIXES)
            answer = self.exchange(connection, "POST", prefix + "/cgi-bin/media/upload?type=image",
                                   begin + picture + b"\r\n--b--\r\n", kind=kind,
                                   **{"Content-Type": "multipart/form-data; boundary=b"})
            if large and self.good(answer):
                self.report.fail("a picture of 18 MiB was accepted", repr(answer.body[:200]))
            if large or not self.good(answer):
                return self.pause(1.0)
            target = "%s/cgi-bin/media/get?media_id=%s" % (prefix, answer.json["media_id"])
            answer = self.exchange(connection, "GET", target, kind="download 5 MiB")
            # Whoever took the bytes of another picture would have 5 MiB too.
            if self.good(answer) and answer.body != picture:
                self.crossed("download 5 MiB", number, answer)
        finally:
            connection.close()
        self.pause(1.0)

    def raw(self, tls=False):
        stream = socket.create_connection(("127.0.0.1", self.https_port if tls else self.http_port), 10)
        stream.settimeout(30)
        return self.trust.wrap_socket(stream, server_hostname="127.0.0.1") if tls else stream

    def slow(self):
        """Callers that take their time, and one that never gets to the end of its head."""
        way = random.choice(["head", "body", "never", "reader"])
        begun, kind = time.monotonic(), "slow " + way
        self.report.count("requests", kind)
        marker, openid = "m%d" % next(self.numbers), random.choice(OPENIDS)
        head = "GET /cgi-bin/user/info?openid=%s&lang=%s HTTP/1.1\r\nHost: h\r\nX-Wxgate-Key: %s\r\nConnection: close\r\n\r\n" % (
            openid, marker, KEY)
        number = next(self.numbers)
        body = json.dumps({"action_name": "QR_SCENE", "expire_seconds": number})
        post = "POST /cgi-bin/qrcode/create HTTP/1.1\r\nHost: h\r\nX-Wxgate-Key: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (
            KEY, len(body))
        try:
            with self.raw(random.random() < 0.5) as stream:
                if way == "body":
                    stream.sendall(post.encode())
                    for byte in body.encode():
                        stream.sendall(bytes([byte]))
                        time.sleep(0.05)
                elif way == "never":
                    stream.sendall(head[:60].encode())
                elif way == "head":
                    step = max(1, len(head) // 20)
                    for n in range(0, len(head), step):
                        stream.sendall(head[n:n + step].encode())
                        time.sleep(0.1)
                else:
                    stream.sendall(head.encode())
                    time.sleep(2)
                response = http.client.HTTPResponse(stream)
                response.begin()
                answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            return self.broke(begun, kind, error, method="POST" if way == "body" else "GET")
        if way == "never":
            if answer.own == "caller-timeout":
                self.report.count("expected", "caller-timeout for a head that never ends")
            else:
                self.report.fail("a head that never ended was answered", repr(answer.body[:200]))
            return None
        self.judge(answer, begun, kind, "POST" if way == "body" else "GET")
        if self.good(answer):
            right = answer.json.get("expire_seconds") == number if way == "body" else (
                answer.json.get("language"), answer.json.get("openid")) == (marker, openid)
            if not right:
                self.crossed(kind, (marker, number), answer)
        return None

    def disconnect(self):
        """Callers that go away."""
        way = random.choice(["after the request", "in an upload", "in a download", "with a reset"])
        self.report.count("requests", "gone " + way)
        marker = "gone%d" % next(self.numbers)
        try:
            with self.raw(random.random() < 0.3) as stream:
                if way == "in an upload":
                    stream.sendall(("POST /cgi-bin/media/upload?type=image HTTP/1.1\r\nHost: h\r\nX-Wxgate-Key: %s\r\n"
                                    "Content-Length: 5000000\r\n\r\n" % KEY).encode() + b"x" * random.randrange(3000000))
                else:
                    call = "user/info?openid=%s&lang=%s" % (OPENIDS[0], marker)
                    stream.sendall(("GET /cgi-bin/%s HTTP/1.1\r\nHost: h\r\nX-Wxgate-Key: %s\r\n\r\n" % (call, KEY)).encode())
                    if way == "in a download":
                        stream.recv(10)
                    if way == "with a reset":
                        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            # Going away is all that it wanted.
            pass
        self.pause(0.2)

    def stranger(self):
        begun = time.monotonic()
        self.report.count("requests", "without the key")
        connection = self.connect(random.random() < 0.5)
        try:
            connection.request("GET", "/cgi-bin/user/get", headers={"X-Wxgate-Key": "wrong"})
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
            if answer.own == "denied" and answer.errcode == 48001:
                self.report.count("expected", "denied without the key")
            else:
                self.report.fail("a stranger was not denied", repr(answer.body[:200]))
        except (OSError, http.client.HTTPException) as error:
            self.broke(begun, "without the key", error)
        finally:
            connection.close()
        self.pause(1.0)

    # -- disturbances --------------------------------------------------------------------------------------

    def control(self, call, body=None):
        """Steers the sandbox; with it away there is nothing to steer."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.sandbox_port, timeout=5, context=self.trust)
        try:
            connection.request("POST", "/sandbox/" + call, json.dumps(body) if body else None)
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return b""
        finally:
            connection.close()

    def thefts(self):
        for _ in range(3):
            self.steal("steal-token")
            self.pause(3)
        while not self.stopping.is_set():
            self.pause(60)
            self.until_callers_call()
            if random.random() < 0.3:
                how = random.choice([{"reset": True}, {"hang_ms": 500}, {"status": 502}, {"errcode": -1}])
                self.report.count("events", "token call fails " + json.dumps(how))
                self.control("fail", {"path": "/cgi-bin/token", "how": how})
            self.steal("expire-token" if random.random() < 0.2 else "steal-token")

    def steal(self, call):
        if self.stopping.is_set() or self.resting.is_set():
            return
        self.report.count("events", call)
        self.control("%s?appid=%s" % (call, random.choice(APPIDS)))

    def failures(self):
        ways = [{"reset": True}, {"hang_ms": 10000}, {"hang_ms": 500}, {"status": 502}, {"errcode": -1}]
        while not self.stopping.is_set():
            self.pause(random.uniform(4, 9))
            self.until_callers_call()
            if self.stopping.is_set():
                return
            how = random.choice(ways)
            order = {"count": random.randrange(1, 6), "how": how}
            if random.random() < 0.7:
                order["path"] = random.choice(["/cgi-bin/user/info", "/cgi-bin/qrcode/create"])
            span = self.disturbances.begin("sandbox failure")
            self.report.count("events", "sandbox failure " + json.dumps(how))
            self.control("fail", order)
            self.pause(1)
            self.disturbances.end(span)

    def lags(self):
        """Nodes that do not know a new token at once; no call may fail of that."""
        ways = [{"share": 0.33, "ms": 1000}, {"share": 0.5, "ms": 1000}, {"share": 0.01}, {"share": 0}]
        for how in itertools.cycle(ways):
            if self.stopping.is_set():
                return
            self.report.count("events", "lag " + json.dumps(how))
            self.control("lag", how)
            self.pause(random.uniform(10, 25))
            self.until_callers_call()

    def early_answers(self):
        while not self.stopping.is_set():
            self.pause(random.uniform(6, 15))
            self.until_callers_call()
            if self.stopping.is_set():
                return
            count = random.randrange(1, 4)
            self.early_ordered += count
            self.report.count("events", "early answer ordered", count)
            self.control("fail", {"count": count, "path": "/cgi-bin/media/upload", "how": {"early_errcode": EARLY}})

    def cuts(self):
        while not self.stopping.is_set():
            self.pause(random.uniform(20, 40))
            self.until_callers_call()
            if self.stopping.is_set():
                return
            span = self.disturbances.begin(CUT)
            self.report.count("events", "line cut")
            self.report.count("events", "connections that died with it", self.line.cut())
            self.disturbances.end(span)

    def sandbox_restarts(self):
        while not self.stopping.is_set():
            self.pause(max(20, min(180, self.options.seconds / 6)))
            self.until_callers_call()
            if self.stopping.is_set():
                return
            span = self.disturbances.begin("sandbox restart")
            self.report.count("events", "sandbox restart")
            self.sandbox.kill()
            self.pause(random.choice([0, 0.5, 3]))
            self.start_sandbox()
            self.disturbances.end(span)

    def reloads(self):
        for turn in itertools.count(1):
            self.pause(random.uniform(5, 15))
            if self.stopping.is_set():
                return
            wrong = turn % 4 == 0
            with self.config_lock:
                self.write_config(turn, wrong)
                self.report.count("events", "reload of a wrong file" if wrong else "reload")
                self.gate.process.send_signal(signal.SIGHUP)
                if wrong:
                    self.pause(2)
                    self.write_config(turn)

    # -- the run -------------------------------------------------------------------------------------------

    def pause(self, seconds):
        self.stopping.wait(seconds)

    def until_callers_call(self):
        while self.resting.is_set() and not self.stopping.is_set():
            self.pause(0.1)

    def again_and_again(self, turn, *arguments):
        while not self.stopping.is_set():
            if self.resting.is_set():
                time.sleep(0.05)
                continue
            with self.busy_lock:
                self.busy += 1
            try:
                turn(*arguments)
            except Exception as error:  # a fault of this script must not look like a quiet run
                self.report.fail("fault in the soak script", repr(error))
                time.sleep(1)
            finally:
                with self.busy_lock:
                    self.busy -= 1

    def guarded(self, run):
        try:
            run()
        except BaseException as error:
            self.report.fail("fault in the soak script", repr(error))

    def rest_and_measure(self, when):
        """All callers pause, what they left has time to end, and the process is looked at."""
        self.resting.set()
        deadline = time.monotonic() + 40
        while self.busy and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(3)
        figures = self.gate.figures()
        self.figures.append((when, figures))
        print("%7.0f s  %-28s RSS %6d KiB, peak %6d KiB, %3d descriptors" % (
            time.monotonic() - self.begun, when, figures["rss"], figures["peak"], figures["fds"]), flush=True)
        self.resting.clear()
        return figures

    def restart_gate(self):
        span = self.disturbances.begin("wxgate restart")
        self.report.count("events", "restart of wxgate")
        with self.config_lock:
            code = self.gate.stop()
            if code != 0:
                self.report.fail("wxgate did not end cleanly", "exit code %s" % code)
            self.start_gate()
        self.disturbances.end(span)

    def watch(self, until):
        """Waits, and looks whether wxgate lives."""
        while time.monotonic() < until:
            if self.gate.process.poll() is not None:
                self.report.fail("wxgate ended by itself", "exit code %s" % self.gate.process.returncode)
                return
            time.sleep(0.2)

    def run(self):
        seconds = self.options.seconds
        self.line = Line(self.sandbox_port)
        self.write_config()
        for name, text in (("caller.key", KEY), ("appsecret", SECRET)):
            with open(self.path(name), "w") as file:
                file.write(text + "\n")
            os.chmod(self.path(name), 0o600)
        # A checkout is open to others, and wxgate would say so at every reload.
        shutil.copyfile(os.path.join(ROOT, "certs/server.key"), self.path("server.key"))
        os.chmod(self.path("server.key"), 0o600)
        self.start_sandbox()
        self.start_gate()
        self.begun = time.monotonic()
        crowd = [(self.caller, tls, keep) for tls, keep in
                 [(False, True)] * 3 + [(True, True)] * 2 + [(False, False)] * 2 + [(True, False)]]
        crowd += [(self.picture,), (self.picture,), (self.slow,), (self.slow,), (self.slow,), (self.disconnect,),
                  (self.disconnect,), (self.stranger,)]
        threads = [threading.Thread(target=self.again_and_again, args=turn, daemon=True) for turn in crowd]
        troubles = [self.thefts, self.failures, self.sandbox_restarts, self.reloads, self.lags, self.early_answers,
                    self.cuts]
        threads += [threading.Thread(target=self.guarded, args=(run,), daemon=True) for run in troubles]
        for thread in threads:
            thread.start()
        self.watch(self.begun + seconds * 0.2)
        self.rest_and_measure("first process, before its end")
        self.restart_gate()
        self.watch(self.begun + seconds * 0.4)
        first = self.rest_and_measure("second process, warmed up")
        for part in (0.6, 0.8):
            self.watch(self.begun + seconds * part)
            self.rest_and_measure("second process")
        self.watch(self.begun + seconds)
        last = self.rest_and_measure("second process, at the end")
        self.stopping.set()
        for thread in threads:
            thread.join(45)
        code = self.gate.stop()
        if code != 0:
            self.report.fail("wxgate did not end cleanly", "exit code %s" % code)
        self.sandbox.kill()
        # Idle upstream connections come and go, and an allocator keeps what it had at its busiest.
        if last["fds"] > first["fds"] + 24:
            self.report.fail("descriptors have grown", "%d to %d" % (first["fds"], last["fds"]))
        if last["rss"] > first["rss"] * 1.5 + 32 * 1024:
            self.report.fail("memory has grown", "%d to %d KiB" % (first["rss"], last["rss"]))
        self.read_log()

    def read_log(self):
        self.levels = collections.Counter()
        self.logged = collections.Counter()
        with open(self.path("wxgate.log"), errors="replace") as file:
            for line in file:
                if "panicked" in line or "RUST_BACKTRACE" in line:
                    self.report.fail("a panic", line[:300])
                if KEY in line or SECRET in line:
                    self.report.fail("a key or a secret in the log", line[:60])
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                level = event.get("level", "?")
                self.levels[level] += 1
                if level in ("WARN", "ERROR"):
                    fields = event.get("fields") or event
                    self.logged["%s %s" % (level, str(fields.get("message", "?"))[:110])] += 1

    def tell(self):
        report = self.report
        total = sum(report.counts["requests"].values())
        elapsed = time.monotonic() - self.begun
        print("\nrequests: %d in %.0f s" % (total, elapsed))
        titles = [("requests", "by kind"), ("events", "disturbances"), ("own errors", "own errors by cause (x-wxgate-error)"),
                  ("expected", "own errors that the script asked for"), ("retry", "x-wxgate-retry"),
                  ("errcodes passed on", "errors of the upstream that were passed on"),
                  ("broken", "broken connections with a cause")]
        for group, title in titles:
            print("\n%s:" % title)
            for name, n in sorted(report.counts[group].items()) or [("none", 0)]:
                print("  %7d  %s" % (n, name))
        print("\nslowest GET in the seconds after a line was cut: %.1f s" % report.slowest_after_cut)
        print("\nlog of wxgate: %s" % ", ".join("%s %d" % pair for pair in sorted(self.levels.items())))
        for text, n in self.logged.most_common(25):
            print("  %7d  %s" % (n, text))
        print("\nmemory and descriptors, callers idle:")
        for when, figures in self.figures:
            print("  %-30s RSS %6d KiB, peak %6d KiB, %3d descriptors" % (
                when, figures["rss"], figures["peak"], figures["fds"]))
        print("\nmust be 0:")
        always = ["token error without x-wxgate-retry", "crossed answer", "broken connection without a cause"]
        for what in always + sorted(set(report.wrong) - set(always)):
            print("  %7d  %s" % (report.wrong[what], what))
            for example in report.examples.get(what, [])[:5]:
                print("           %s" % example)
        return 1 if report.wrong else 0


def quoted(name):
    """A file of the repository as a TOML string."""
    return json.dumps(os.path.join(ROOT, name))


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1200, help="how long callers call (default: 1200)")
    parser.add_argument("--wxgate", default=os.path.join(ROOT, "target/release/wxgate"), help="the program to run")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and state")
    options = parser.parse_args()
    if not os.access(options.wxgate, os.X_OK):
        raise SystemExit("no program at %s: cargo build --release, or say --wxgate" % options.wxgate)
    options.wxgate = os.path.abspath(options.wxgate)
    folder = tempfile.mkdtemp(prefix="wxgate-soak-")
    soak, code = Soak(options, folder), 1
    try:
        soak.run()
        code = soak.tell()
    finally:
        for process in (soak.gate, soak.sandbox):
            if process and process.process.poll() is None:
                process.kill()
        if code == 0 and not options.keep:
            shutil.rmtree(folder)
        else:
            print("\nlogs and state: %s" % folder)
    sys.exit(code)


if __name__ == "__main__":
    main()
