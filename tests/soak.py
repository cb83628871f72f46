#!/usr/bin/env python3
"""Soak run: wxgate under mixed load and disturbances for a while, and what came of it.

    tests/soak.py [--seconds 1200] [--wxgate target/release/wxgate] [--keep]

Not part of CI. Needs Python 3.8 or later, curl with HTTP/2 and redis-server; everything listens on loopback, and it
ends by itself a few seconds after the time given. It starts `wxgate sandbox` twice (WeChat and WeCom, HTTPS), Redis,
lines to both sandboxes that can be cut, and `wxgate serve` (plain, HTTPS and admin listeners; two official accounts, one
of WeCom, one without a token of its own, one that comes and goes in a file of its own), and mixes:

  calls          keep-alive and one connection per call, http and https, GETs and POSTs, both accounts
  WeCom          messages and members, with tokens that are stolen or over (40014, 42001), through the same disturbances
  HTTP/2         curl with eight streams at one moment over TLS, and by prior knowledge: GETs, POSTs, up- and downloads
  signatures     for pages and cards, each computed again with the ticket that callers get; that is one of the account
  logins         without a secret; their codes work once, so that one that is sent twice shows
  limits         a caller beyond its `rate` and `concurrent`, and with an `allow` that leaves its POSTs out
  a real token   an app that fetches it from wxgate and calls with it through the account without one
  admin          status, metrics, calls, configuration and page, asked all the time; calls and refreshes through it, for
                 one generation by five at once; strangers
  media          uploads of 5 MiB, downloaded again and compared byte for byte; uploads of 18 MiB, too large to repeat
  renewals       tokens live for 90 s, so that each is renewed ahead of time several times
  token thefts   a few at the beginning, then one a minute for both accounts together, now and then a token that
                 is over (42001), or a fetch that fails first. With the restarts of the sandbox that is less than the
                 bucket of forced refreshes gains, so that `refresh-limited` should stay rare
  lagging nodes  a third or half of the calls refuse a new token for a second (40001), or three in a thousand
                 refuse a token at random, whatever its age: thrice the same call once in 37 million
  dead lines     all connections to the sandbox stay open, and nothing that wxgate sends on them arrives any more, not
                 even an acknowledgement: answers that it has got already are sent to it again and again. `cuts.log`
                 tells when each line was cut
  early answers  an upload is answered after its first 64 KiB, and the connection is closed
  sandbox        resets, answers that hang past response_timeout, status 502, errcode -1, also for token calls;
                 and it is killed and started again on its port, which ends all its tokens (40001)
  slow callers   a head or a body byte by byte, heads that never end, downloads read slowly
  disconnects    after the request, in the middle of an upload, in the middle of a download
  strangers      calls without the key
  reloads        SIGHUP every few seconds, or `watch`, with another limit, an account that comes and goes, and at times
                 a file that is wrong
  the store      files for the first fifth, then Redis, which is killed and comes back empty, or hangs for some seconds;
                 that is no cause for any failure (several wxgate with one Redis: examples/fleet)
  restarts       of wxgate itself: SIGTERM, a clean end; after a tenth of the time with the same state directory, after
                 a fifth with Redis

Every call carries a marker that its answer repeats: `lang` of user/info, `expire_seconds` of qrcode/create, the receiver
that WeCom does not know, the bytes of a picture. What must hold, or the exit code is 1:

  - no crossed answer: an answer never carries another request's marker;
  - no token error (40001, 40014, 42001) without `x-wxgate-retry` reaches a caller;
  - no failure without a cause: broken connections and own answers 502, 503 and 504 occur only where a disturbance
    was under way, and no well-formed call of a known caller gets another own answer. Lagging nodes and early answers
    are no cause. A dead line is one for calls that were in flight when it was cut, and for 6 s for POSTs, which may have
    been executed; a GET that begins later has to be answered;
  - no answer of the admin listener and no line of the log holds a key, a secret, a token or a ticket; no counter of the
    metrics and no generation goes back; a reload is done within 30 s, and Redis used again 25 s after its return;
  - wxgate ends with 0 when told to, never by itself, and its log holds no panic;
  - descriptors and memory at the end are what they were after the warm-up, within bounds.

A token that is stolen in its first second while nodes lag is more than three sendings can make good: thefts, restarts of
the sandbox and refreshes by hand wait until the token is older.

Memory and descriptors are read with all callers idle, of the process that serves after the last restart: at its
beginning (after a warm-up) and at the end. wxgate is not dumpable, so that only root can list its descriptors; for
others their number is read as Linux 6.2 and later tell it.
"""

import argparse
import collections
import itertools
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True

from soaking.admin import Admin
from soaking.callers import Callers
from soaking.parts import (ADMIN_KEY, APPIDS, CENTRAL_KEY, CONCURRENT, CORPID, KEY, LIMITED_KEY, PREFIXES, RATE, ROOT,
                           SECRET, STORE_KEY, WECOM_SECRET, Disturbances, Line, Process, Report, free_ports, leaked,
                           quoted)
from soaking.products import Products
from soaking.troubles import Troubles


GUEST = "wx00000000000000a3"


class Soak(Callers, Products, Admin, Troubles):
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.report, self.disturbances = Report(), Disturbances()
        self.stopping, self.resting, self.calm = threading.Event(), threading.Event(), threading.Event()
        self.busy = 0
        self.busy_lock = threading.Lock()
        # A restart must find a file that is right, and no signal may come before it is listened for.
        self.config_lock = threading.Lock()
        self.numbers = itertools.count(1)
        self.early_ordered = 0
        (self.sandbox_port, self.wecom_port, self.http_port, self.https_port, self.admin_port,
         self.redis_port) = free_ports(6)
        self.trust = ssl.create_default_context(cafile=os.path.join(ROOT, "certs/ca.pem"))
        self.sandbox = self.wecom_sandbox = self.gate = self.redis = None
        self.figures = []
        # Where wxgate keeps its tokens, and since when a store that was away is there again (None: it is away).
        self.store, self.store_back = "file", 0.0
        self.restarts = 0
        # What was seen last: counters with the process that showed them, generations by store and account.
        self.counters, self.generations = ({}, None), {}
        # Every ticket with its account and kind; pictures that can be downloaded.
        self.tickets, self.pictures = {}, collections.deque(maxlen=4)
        # Forced refreshes by hand are as rare as the bucket wants it.
        self.next_forced = self.next_refresh = time.monotonic() + 20
        self.settled = False

    # -- processes ---------------------------------------------------------------------------------------

    def path(self, name):
        return os.path.join(self.folder, name)

    def start_sandbox(self):
        arguments = [self.options.wxgate, "sandbox", "--listen", "127.0.0.1:%d" % self.sandbox_port,
                     "--api-quota", "0", "--token-ttl", "90s", "--overlap", "20s"]
        for appid in APPIDS + [GUEST]:
            arguments += ["--appid", appid, "--secret", SECRET]
        self.sandbox = Process("the sandbox", arguments, self.path("sandbox.log"))
        arguments = arguments[:2] + ["--wecom", "--listen", "127.0.0.1:%d" % self.wecom_port] + arguments[4:8] + [
            "--appid", CORPID, "--secret", WECOM_SECRET]
        self.wecom_sandbox = Process("WeCom's sandbox", arguments, self.path("sandbox-wecom.log"))
        self.sandbox.await_port(self.sandbox_port)
        self.wecom_sandbox.await_port(self.wecom_port)

    def start_redis(self):
        self.redis = Process("redis-server", ["redis-server", self.path("redis.conf")], self.path("redis.err"))
        self.redis.await_port(self.redis_port)
        self.store_back = time.monotonic()

    def start_gate(self):
        arguments = [self.options.wxgate, "serve", "--config", self.path("wxgate.toml")]
        self.gate = Process("wxgate", arguments, self.path("wxgate.log"))
        self.gate.await_port(self.http_port)
        self.gate.await_port(self.https_port)
        # Its sockets are open before it serves.
        connection = self.connect(False)
        connection.request("GET", "/cgi-bin/token", headers=self.headers(KEY))
        connection.getresponse().read()
        connection.close()

    def write_config(self, variant=0, wrong=False):
        text = """
listen = ["127.0.0.1:%d"]
state_dir = "state"
log_format = "json"
watch = true
accounts = ["accounts.d/*.toml"]
[tls]
listen = ["127.0.0.1:%d"]
cert = %s
key = %s
[admin]
listen = "127.0.0.1:%d"
key = { file = "admin.key" }
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
[[caller]]
name = "limited"
key = { file = "limited.key" }
rate = "%d/s"
concurrent = %d
allow = ["GET /cgi-bin/user/*"]
[[caller]]
name = "central"
key = { file = "central.key" }
real_token = true
accounts = ["main"]
""" % (self.http_port, self.https_port, quoted("certs/server.pem"), json.dumps(self.path("server.key")), self.admin_port,
            self.line.port, quoted("certs/ca.pem"), 2000 + variant, RATE, CONCURRENT)
        if self.store == "redis":
            text += '[store]\nkind = "redis"\nurl = "redis://127.0.0.1:%d/0"\npassword = { file = "redis.key" }\n' % (
                self.redis_port)
        of_weixin = 'tickets = true\npaths = ["/cgi-bin/", "/sns/"]\n' \
            'secret_paths = ["/sns/jscode2session", "/sns/oauth2/access_token"]\n'
        for name, appid, prefix in zip(("main", "shop"), APPIDS, PREFIXES):
            text += account(name, appid, prefix) + of_weixin
        text += '[[account]]\nname = "own"\ntoken_api = "none"\nprefix = "/own"\n'
        if wrong:
            text += "pathz = 7\n"
        self.write("accounts.d/corp.toml", account("corp", CORPID, "/corp", "../corpsecret") + (
            'kind = "wecom"\ntickets = true\nupstream = "https://127.0.0.1:%d"\n' % self.wecom_line.port))
        # One more account comes and goes.
        if variant % 2:
            self.write("accounts.d/guest.toml", account("guest", GUEST, "/guest", "../appsecret"))
        elif os.path.exists(self.path("accounts.d/guest.toml")):
            os.remove(self.path("accounts.d/guest.toml"))
        self.write("wxgate.toml", text)

    def write(self, name, text):
        """A whole file, or the one before it, under this name."""
        new = self.path(name + ".new")
        with open(new, "w") as file:
            file.write(text)
        os.chmod(new, 0o600)
        os.rename(new, self.path(name))

    # -- the run -------------------------------------------------------------------------------------------

    def pause(self, seconds):
        self.stopping.wait(seconds)

    def until_callers_call(self):
        while self.calm.is_set() and not self.stopping.is_set():
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
        """All callers pause, what they left has time to end, and the process is looked at.

        Before that nothing is done for two seconds that they would notice only when they pause already.
        """
        self.calm.set()
        time.sleep(2)
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
        self.calm.clear()
        return figures

    def restart_gate(self, store):
        # A reload that is under way ends first: it waits for what only a wxgate that runs can tell.
        with self.config_lock:
            span = self.disturbances.begin("wxgate restart")
            self.report.count("events", "restart of wxgate")
            self.restarts += 1
            code = self.gate.stop()
            if code != 0:
                self.report.fail("wxgate did not end cleanly", "exit code %s" % code)
            if store != self.store:
                self.store = store
                self.write_config()
            self.start_gate()
            self.restarts += 1
        # Another store has no tokens yet, and fetching one may fail.
        self.until_status("tokens after a restart", lambda status: all(
            one["state"] != "empty" for one in status["accounts"] if one["name"] != "guest"))
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
        self.line, self.wecom_line = Line("WeChat", self.sandbox_port), Line("WeCom", self.wecom_port)
        os.mkdir(self.path("accounts.d"))
        self.write_config()
        for name, text in (("caller.key", KEY), ("limited.key", LIMITED_KEY), ("central.key", CENTRAL_KEY),
                           ("admin.key", ADMIN_KEY), ("redis.key", STORE_KEY), ("appsecret", SECRET),
                           ("corpsecret", WECOM_SECRET)):
            self.write(name, text + "\n")
        # Nothing is kept, so that a Redis that was killed comes back empty.
        self.write("redis.conf", 'bind 127.0.0.1\nport %d\nsave ""\nappendonly no\nrequirepass %s\nlogfile %s\n' % (
            self.redis_port, STORE_KEY, self.path("redis.log")))
        # A checkout is open to others, and wxgate would say so at every reload.
        shutil.copyfile(os.path.join(ROOT, "certs/server.key"), self.path("server.key"))
        os.chmod(self.path("server.key"), 0o600)
        self.start_sandbox()
        self.start_redis()
        self.start_gate()
        self.begun = time.monotonic()
        crowd = [(self.caller, tls, keep) for tls, keep in
                 [(False, True)] * 3 + [(True, True)] * 2 + [(False, False)] * 2 + [(True, False)]]
        crowd += [(self.picture,), (self.picture,), (self.slow,), (self.slow,), (self.slow,), (self.disconnect,),
                  (self.disconnect,), (self.stranger,)]
        crowd += [(self.wecom,), (self.wecom,), (self.signatures,), (self.signatures,), (self.login,), (self.central,),
                  (self.hurried,), (self.http2,), (self.http2,), (self.poller,), (self.stranger_at_admin,),
                  (self.console,), (self.refresh,)]
        threads = [threading.Thread(target=self.again_and_again, args=turn, daemon=True) for turn in crowd]
        troubles = [self.thefts, self.wecom_thefts, self.store_troubles, self.failures, self.sandbox_restarts,
                    self.reloads, self.lags, self.early_answers, self.cuts]
        threads += [threading.Thread(target=self.guarded, args=(run,), daemon=True) for run in troubles]
        for thread in threads:
            thread.start()
        self.watch(self.begun + seconds * 0.1)
        self.rest_and_measure("first process, before its end")
        self.restart_gate("file")
        self.watch(self.begun + seconds * 0.2)
        self.rest_and_measure("second process, before its end")
        self.restart_gate("redis")
        self.watch(self.begun + seconds * 0.4)
        first = self.rest_and_measure("third process, warmed up")
        for part in (0.6, 0.8):
            self.watch(self.begun + seconds * part)
            self.rest_and_measure("third process")
        self.watch(self.begun + seconds)
        last = self.rest_and_measure("third process, at the end")
        self.stopping.set()
        for thread in threads:
            thread.join(45)
        code = self.gate.stop()
        if code != 0:
            self.report.fail("wxgate did not end cleanly", "exit code %s" % code)
        for process in (self.sandbox, self.wecom_sandbox, self.redis):
            process.kill()
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
                found = leaked(line, self.tickets)
                if found:
                    self.report.fail("a key, a secret or a token in the log", found)
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                level = event.get("level", "?")
                if event.get("path") in ("/status", "/metrics", "/calls", "/config", "/"):
                    self.report.fail("a call of the admin listener in the access log", line[:200])
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


def account(name, appid, prefix, secret="appsecret"):
    return '[[account]]\nname = "%s"\nappid = "%s"\nsecret = { file = "%s" }\nprefix = "%s"\n' % (
        name, appid, secret, prefix)


def need(program, what):
    try:
        told = subprocess.run([program, "--version"], stdout=subprocess.PIPE, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit("the soak run needs %s (%s): install it" % (program, what))
    return told


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1200, help="how long callers call (default: 1200)")
    parser.add_argument("--wxgate", default=os.path.join(ROOT, "target/release/wxgate"), help="the program to run")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and state")
    options = parser.parse_args()
    if not os.access(options.wxgate, os.X_OK):
        raise SystemExit("no program at %s: cargo build --release, or say --wxgate" % options.wxgate)
    options.wxgate = os.path.abspath(options.wxgate)
    need("redis-server", "for the store")
    if "HTTP2" not in need("curl", "for HTTP/2"):
        raise SystemExit("the soak run needs a curl with HTTP/2, and this one has none")
    folder = tempfile.mkdtemp(prefix="wxgate-soak-")
    soak, code = Soak(options, folder), 1
    try:
        soak.run()
        code = soak.tell()
    finally:
        for process in (soak.gate, soak.sandbox, soak.wecom_sandbox, soak.redis):
            if process and process.process.poll() is None:
                process.kill()
        if code == 0 and not options.keep:
            shutil.rmtree(folder)
        else:
            print("\nlogs and state: %s" % folder)
    sys.exit(code)


if __name__ == "__main__":
    main()
