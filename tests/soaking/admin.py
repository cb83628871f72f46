"""The soak run's look at the admin listener: it is asked all the time, and what it answers must fit together.

No secret and no token stands in any answer, no counter and no generation goes back, and refreshes and calls through it
do what they say.
"""

import http.client
import json
import random
import re
import threading
import time

from .parts import ADMIN_KEY, OPENIDS, Answer, leaked

PATHS = ["/status", "/metrics", "/calls", "/status", "/metrics", "/config", "/", "/readyz?strict", "/livez"]
SAMPLE = re.compile(r"^([a-z_]+)(\{.*\})? (\S+)$")
# How long a store may be away after it has come back.
HEALED = 25


class Admin:
    """Turns of those who ask it."""

    def ask(self, connection, method, target, body=None, kind="admin", key=ADMIN_KEY, **headers):
        """An answer without anything secret; `None` when the connection broke, or wxgate was not there all the time."""
        begun, restarts = time.monotonic(), self.restarts
        self.report.count("requests", kind)
        if key:
            headers = {"Authorization": "Bearer " + key, **headers}
        try:
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self.broke(begun, kind, error)
            return None
        text = "%s\n%s" % (response.headers, answer.body.decode(errors="replace"))
        found = leaked(text, self.tickets)
        if found:
            self.report.fail("a secret in an answer of the admin listener", "%s %s: %s" % (method, target, found))
        return answer if restarts == self.restarts and restarts % 2 == 0 else None

    def admin_connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=30)

    def poller(self):
        """Whoever watches: a monitoring system, the page, a person with a list of failed calls."""
        connection = self.admin_connection()
        try:
            for path in PATHS * 5:
                if self.stopping.is_set() or self.resting.is_set():
                    return
                if random.random() < 0.1:
                    connection.close()
                begun, pid = time.monotonic(), self.gate.process.pid
                language = random.choice(["zh-CN,zh;q=0.9", "en"])
                answer = self.ask(connection, "GET", path, kind="admin " + path, **{"Accept-Language": language})
                if answer is None:
                    continue
                if answer.status == 503 and path.startswith("/readyz"):
                    # WeCom hands out the same token until it ends, and only then the next one; and an account that comes
                    # anew has none yet.
                    away = {one["name"] for one in answer.json["accounts"] if one["state"] in ("expired", "empty")}
                    if not (away and away <= {"corp", "guest"}) and not self.disturbances.at(begun, time.monotonic()):
                        self.report.fail("not ready without a cause", repr(answer.body[:300]))
                elif answer.status != 200:
                    self.report.fail("the admin listener does not answer", "%s: %d %r" % (
                        path, answer.status, answer.body[:200]))
                elif path == "/metrics":
                    self.look_at_metrics(answer.body.decode(), pid)
                elif path == "/status":
                    self.look_at_status(answer.json)
                elif path == "/calls":
                    calls = answer.json["calls"]
                    if len(calls) > 200 or any("?" in call.get("path", "") for call in calls):
                        self.report.fail("a list of calls of another form", "%d calls" % len(calls))
                elif path == "/" and b"</html>" not in answer.body:
                    self.report.fail("half a page", repr(answer.body[-100:]))
                time.sleep(0.1)
        finally:
            connection.close()

    def look_at_metrics(self, text, pid):
        """Counters of one process never go back, and no series but those of the account that goes is ever gone."""
        types, now = {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                name, kind = line.split()[2:]
                types[name] = kind
            elif not line.startswith("#"):
                name, labels, value = SAMPLE.match(line).groups()
                family = name if name in types else name.rsplit("_", 1)[0]
                if types[family] in ("counter", "histogram"):
                    now[name + (labels or "")] = float(value)
        before, pid_before = self.counters
        self.counters = (now, pid)
        if pid != pid_before:
            return
        for series, value in before.items():
            if 'account="guest"' in series:
                continue
            if series not in now:
                self.report.fail("a series of the metrics is gone", series)
            elif now[series] < value:
                self.report.fail("a counter went back", "%s: %s, then %s" % (series, value, now[series]))

    def look_at_status(self, status):
        if not any(account["name"] == "guest" for account in status["accounts"]):
            # Nobody puts its token back into a Redis that comes back empty meanwhile.
            self.generations.pop(("redis", "guest"), None)
        for account in status["accounts"]:
            name, generation = account["name"], account["generation"] or 0
            if account["state"] == "refused":
                self.report.fail("an account is refused a token", json.dumps(account["last_error"]))
            if (name, account["state"], generation) == ("guest", "empty", 0):
                # It has just come back, and its token is being read from the store. Whether it was there shows later.
                continue
            key = (self.store, name)
            if generation < self.generations.get(key, 0):
                self.report.fail("a generation went back", "%s: %d, then %d" % (name, self.generations[key], generation))
            self.generations[key] = generation
        store = status["store"]
        if store["kind"] != self.store:
            self.report.fail("another store", json.dumps(store))
        back = self.store_back
        if not store["up"] and back is not None and time.monotonic() > back + HEALED:
            self.report.fail("the store is away %d s after its return" % HEALED, json.dumps(store))

    def stranger_at_admin(self):
        connection = self.admin_connection()
        try:
            for method, target, key, headers, right in [
                    ("GET", "/status", "wrong", {}, 401), ("GET", "/metrics", None, {}, 401),
                    ("GET", "/calls", ADMIN_KEY, {"Host": "evil.example.com"}, 403),
                    ("POST", "/accounts/main/refresh", ADMIN_KEY, {"Origin": "http://evil.example.com"}, 403)]:
                answer = self.ask(connection, method, target, kind="admin, a stranger", key=key, **headers)
                if answer is not None and answer.status != right:
                    self.report.fail("the admin listener lets a stranger in", "%s %s: %d" % (method, target, answer.status))
        finally:
            connection.close()
        self.pause(1.0)

    # -- an operator -----------------------------------------------------------------------------------------

    def console(self):
        """Calls through the admin listener, with markers like all others."""
        connection, begun = self.admin_connection(), time.monotonic()
        try:
            marker, openid = "m%d" % next(self.numbers), random.choice(OPENIDS)
            account = random.choice(["main", "shop", "corp"])
            if account == "corp":
                wanted, body = self.message()
                call = {"method": "POST", "path": "/cgi-bin/message/send", "body": body.decode(),
                        "headers": {"Content-Type": "application/json"}}
            else:
                wanted = marker
                call = {"method": "GET", "path": "/cgi-bin/user/info", "query": "openid=%s&lang=%s" % (openid, marker)}
            kind = "admin, a call"
            told = self.ask(connection, "POST", "/accounts/%s/call" % account, json.dumps(call), kind=kind)
            if told is None:
                return
            if told.status != 200:
                self.report.fail("a call of the admin listener failed", repr(told.body[:300]))
                return
            answer = Answer(told.json["status"], told.json["headers"], told.json["body"].encode())
            self.judge(answer, begun, kind, call["method"])
            if self.good(answer) and answer.json.get("invaliduser" if account == "corp" else "language") != wanted:
                self.crossed(kind, wanted, answer)
        finally:
            connection.close()
        self.pause(0.3)

    def refresh(self):
        """With a generation that is over nothing is fetched; now and then a refresh that several ask for together."""
        connection, begun, restarts = self.admin_connection(), time.monotonic(), self.restarts
        try:
            account = random.choice(["main", "shop", "corp"])
            status = self.ask(connection, "GET", "/status", kind="admin /status")
            if status is None or status.status != 200:
                return
            now, age = {one["name"]: (one["generation"], one["age_seconds"])
                        for one in status.json["accounts"]}[account]
            if now:
                answer = self.ask(connection, "POST", "/accounts/%s/refresh?generation=%d" % (account, now - 1),
                                  kind="admin, a refresh with an earlier generation")
                if answer is not None and restarts == self.restarts and not (
                        answer.status == 200 and answer.json["generation"] >= now):
                    if not self.disturbances.at(begun, time.monotonic()):
                        self.report.fail("a refresh with an earlier generation", "%d %r" % (answer.status, answer.body[:200]))
            if now and (age or 0) >= 5 and account != "corp" and time.monotonic() > self.next_refresh:
                self.next_refresh = time.monotonic() + 600
                self.refresh_together(account, now)
        finally:
            connection.close()
        self.pause(1.0)

    def refresh_together(self, account, generation):
        begun, restarts, answers = time.monotonic(), self.restarts, []

        def one():
            connection = self.admin_connection()
            try:
                answers.append(self.ask(connection, "POST", "/accounts/%s/refresh?generation=%d" % (
                    account, generation), kind="admin, a refresh by five"))
            finally:
                connection.close()
        threads = [threading.Thread(target=one, daemon=True) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answers = [answer for answer in answers if answer is not None]
        if restarts != self.restarts or self.disturbances.at(begun, time.monotonic()):
            return
        told = sorted({(answer.status, (answer.json or {}).get("generation")) for answer in answers}, key=str)
        self.report.count("events", "refresh by five, %s" % ("one fetch" if told == [(200, generation + 1)] else told))
        # A theft or a renewal at the same moment costs another one.
        if any(status not in (200, 429) or status == 200 and not generation < newer <= generation + 2
               for status, newer in told):
            self.report.fail("a refresh that five asked for", "from %d: %r" % (generation, told))
