"""What the soak run does to wxgate and around it while callers call. Each method goes on to the end of the run."""

import datetime
import http.client
import itertools
import json
import random
import signal
import time

from .parts import APPIDS, CUT, EARLY


class Troubles:
    """Disturbances."""

    def control(self, call, body=None, port=None, method="POST"):
        """Steers a sandbox; with it away there is nothing to steer."""
        port = port or self.sandbox_port
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=self.trust)
        try:
            connection.request(method, "/sandbox/" + call, json.dumps(body) if body else None)
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return b""
        finally:
            connection.close()

    def turns(self, least, most):
        """One after each pause of so many seconds, while callers call, to the end of the run."""
        while not self.stopping.is_set():
            self.pause(random.uniform(least, most))
            self.until_callers_call()
            if not self.stopping.is_set():
                yield

    def thefts(self):
        for _ in range(3):
            self.steal("steal-token")
            self.pause(3)
        for _ in self.turns(60, 60):
            if random.random() < 0.3:
                how = random.choice([{"reset": True}, {"hang_ms": 500}, {"status": 502}, {"errcode": -1}])
                self.report.count("events", "token call fails " + json.dumps(how))
                self.control("fail", {"path": "/cgi-bin/token", "how": how})
            self.steal("expire-token" if random.random() < 0.2 else "steal-token")

    def steal(self, call):
        index = random.randrange(2)
        self.until_settled("main shop".split()[index])
        if self.stopping.is_set() or self.calm.is_set():
            return
        self.report.count("events", call)
        self.control("%s?appid=%s" % (call, APPIDS[index]))

    def until_settled(self, *accounts):
        """A token is stolen once every node knows it: both in one second is more than three sendings can make good."""
        def old_enough(status):
            ages = [one["age_seconds"] for one in status["accounts"] if one["name"] in accounts]
            return all(age is not None and age >= 2 for age in ages)
        self.until_status("a token of some age", old_enough)

    def wecom_thefts(self):
        for _ in self.turns(*((60, 150) if self.options.seconds > 300 else (15, 15))):
            call = "expire-token" if random.random() < 0.3 else "steal-token"
            self.report.count("events", "WeCom " + call)
            self.control(call, port=self.wecom_port)

    def failures(self):
        ways = [{"reset": True}, {"hang_ms": 10000}, {"hang_ms": 500}, {"status": 502}, {"errcode": -1}]
        for _ in self.turns(4, 9):
            how = random.choice(ways)
            order = {"count": random.randrange(1, 6), "how": how}
            port = random.choice([self.sandbox_port, self.sandbox_port, self.wecom_port])
            if random.random() < 0.7:
                order["path"] = random.choice(["/cgi-bin/user/info", "/cgi-bin/qrcode/create"] if port == self.sandbox_port
                                              else ["/cgi-bin/user/get", "/cgi-bin/message/send"])
            span = self.disturbances.begin("sandbox failure")
            self.report.count("events", "sandbox failure " + json.dumps(how))
            self.control("fail", order, port)
            self.pause(1)
            # It waits for its calls, and whoever was cut off calls late.
            until = time.monotonic() + 15
            while not self.stopping.is_set() and time.monotonic() < until and self.failures_left(port):
                self.pause(0.5)
            self.disturbances.end(span)

    def failures_left(self, port):
        try:
            return json.loads(self.control("stats", port=port, method="GET"))["failures_left"]
        except ValueError:
            return 0

    def lags(self):
        """Nodes that do not know a new token at once; no call may fail of that.

        After each way there is none for some seconds: a call that is refused twice because its token is new, and once
        more at random, is more than three sendings can make good.
        """
        ways = [{"share": 0.33, "ms": 1000}, {"share": 0.5, "ms": 1000}, {"share": 0.003}]
        for how in itertools.cycle(ways):
            for order, shortest, longest in ((how, 10, 25), ({"share": 0}, 3, 9)):
                if self.stopping.is_set():
                    return
                self.report.count("events", "lag " + json.dumps(order))
                self.control("lag", order)
                self.pause(random.uniform(shortest, longest))
                self.until_callers_call()

    def early_answers(self):
        for _ in self.turns(6, 15):
            count = random.randrange(1, 4)
            self.early_ordered += count
            self.report.count("events", "early answer ordered", count)
            self.control("fail", {"count": count, "path": "/cgi-bin/media/upload", "how": {"early_errcode": EARLY}})

    def cuts(self):
        for _ in self.turns(20, 40):
            span = self.disturbances.begin(CUT)
            self.report.count("events", "line cut")
            with open(self.path("cuts.log"), "a") as log:
                for line in (self.line, self.wecom_line):
                    died = line.cut()
                    self.report.count("events", "connections that died with it", died)
                    # As in wxgate's log.
                    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                    log.write("%s %s, connections: %d\n" % (now, line.name, died))
            self.disturbances.end(span)

    def sandbox_restarts(self):
        pause = max(20, min(180, self.options.seconds / 6))
        for _ in self.turns(pause, pause):
            self.until_settled("main", "shop")
            if self.stopping.is_set():
                return
            span = self.disturbances.begin("sandbox restart")
            self.report.count("events", "sandbox restart")
            self.sandbox.kill()
            self.wecom_sandbox.kill()
            self.pause(random.choice([0, 0.5, 3]))
            self.start_sandbox()
            self.disturbances.end(span)

    def reloads(self):
        """By a signal, or by wxgate's own look at its files; either way within some seconds."""
        for turn in itertools.count(1):
            self.pause(random.uniform(5, 15))
            if self.stopping.is_set():
                return
            wrong, by_itself = turn % 4 == 0, turn % 3 == 0
            with self.config_lock:
                self.write_config(turn, wrong)
                self.report.count("events", "reload of a wrong file" if wrong else
                                  "reload by itself" if by_itself else "reload")
                if not by_itself:
                    self.gate.process.send_signal(signal.SIGHUP)
                if wrong:
                    self.until_status("a wrong file is told", lambda status: status["last_reload"]["ok"] is False)
                    self.write_config(turn)
                self.until_status("a reload is done", lambda status: status["last_reload"]["ok"] is not False and
                                  turn % 2 == sum(one["name"] == "guest" for one in status["accounts"]))

    def until_status(self, what, right):
        begun = time.monotonic()
        connection = self.admin_connection()
        try:
            while not self.stopping.is_set():
                status = self.ask(connection, "GET", "/status", kind="admin /status")
                if status is not None and right(status.json):
                    return
                if time.monotonic() > begun + 30:
                    self.report.fail("not within 30 s: " + what, repr(status and status.body[:300]))
                    return
                self.pause(0.3)
        finally:
            connection.close()

    def store_troubles(self):
        """Redis is killed and comes back empty, or answers nothing for a while; no call may fail of that."""
        for _ in self.turns(*((30, 90) if self.options.seconds > 300 else (8, 8))):
            if self.store != "redis":
                continue
            away = random.choice([0, 1, 10])
            self.store_back = None
            if random.random() < 0.5:
                self.report.count("events", "Redis is gone for %d s, and what it held" % away)
                self.redis.kill()
                self.pause(away)
                self.start_redis()
            else:
                self.report.count("events", "Redis hangs for %d s" % away)
                self.redis.process.send_signal(signal.SIGSTOP)
                self.pause(away)
                self.redis.process.send_signal(signal.SIGCONT)
                self.store_back = time.monotonic()
