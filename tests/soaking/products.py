"""Callers of the soak run beyond plain calls of an official account: WeCom, tickets and signatures, logins, HTTP/2, a
caller with limits, and an app that gets the real token.

Each method is one turn, called again and again; `Soak` in `tests/soak.py` has what they call with.
"""

import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse

from .parts import (APPIDS, CENTRAL_KEY, CONCURRENT, CORPID, KEY, LIMITED_KEY, OPENIDS, PREFIXES, RATE, ROOT,
                    TOKEN_ERRORS, TOKEN_SHAPE, Answer)

# What /wxgate/jssdk and /wxgate/cardext sign with, by prefix: its name, and where it is had.
WEIXIN_TICKETS = [("jsapi", "/cgi-bin/ticket/getticket?type=jsapi"),
                  ("wx_card", "/cgi-bin/ticket/getticket?type=wx_card")]
WECOM_TICKETS = [("jsapi", "/cgi-bin/get_jsapi_ticket"), ("agent_config", "/cgi-bin/ticket/get?type=agent_config")]
MEMBERS = ["zhangsan", "lisi"]
# Calls of one curl at one moment.
STREAMS = 8
# A picture may be gone after so many MiB of others: the sandbox keeps 64, and some are on their way.
KEPT = 32


class Products:
    """Turns of callers."""

    # -- WeCom -------------------------------------------------------------------------------------------

    def wecom(self):
        tls = random.random() < 0.5
        connection, name = self.connect(tls), "WeCom " + ("https" if tls else "http")
        try:
            for _ in range(100):
                if self.stopping.is_set() or self.resting.is_set():
                    return
                what = random.random()
                if what < 0.5:
                    self.wecom_message(connection, name + " POST")
                elif what < 0.95:
                    member = random.choice(MEMBERS)
                    answer = self.exchange(connection, "GET", "/corp/cgi-bin/user/get?access_token=&userid=" + member,
                                           kind=name + " GET")
                    if self.good(answer) and answer.json.get("userid") != member:
                        self.crossed(name, member, answer)
                else:
                    self.placeholder(connection)
                time.sleep(random.uniform(0, 0.05))
        finally:
            connection.close()

    def wecom_message(self, connection, kind):
        nobody, body = self.message()
        answer = self.exchange(connection, "POST", "/corp/cgi-bin/message/send", body, kind=kind)
        if self.good(answer) and answer.json.get("invaliduser") != nobody:
            self.crossed(kind, nobody, answer)

    def message(self):
        """A message to somebody who is unknown, and whom its answer repeats."""
        nobody = "nobody%d" % next(self.numbers)
        return nobody, json.dumps({"touser": "lisi|" + nobody, "agentid": 1, "msgtype": "text",
                                   "text": {"content": "x" * random.choice((10, 3000))}}).encode()

    def placeholder(self, connection):
        """Token calls, which old apps go on making; no caller but the one with `real_token` gets one."""
        target = random.choice([
            "/corp/cgi-bin/gettoken?corpid=%s&corpsecret=x" % CORPID,
            "/cgi-bin/token?grant_type=client_credential&appid=%s&secret=x" % APPIDS[0]])
        answer = self.exchange(connection, "GET", target, kind="token call")
        if self.good(answer) and (not answer.json.get("access_token") or TOKEN_SHAPE.search(answer.json["access_token"])):
            self.report.fail("a token at a caller", "answer to %s" % target)

    # -- tickets, signatures, logins -----------------------------------------------------------------------

    def signatures(self):
        """Signatures between two looks at the ticket: each fits the one or the other."""
        prefix = random.choice(PREFIXES + ["/corp"])
        kind, call = random.choice(WECOM_TICKETS if prefix == "/corp" else WEIXIN_TICKETS)
        connection = self.connect(random.random() < 0.5)
        try:
            tickets, signed = [self.ticket(connection, prefix, kind, call)], []
            for _ in range(random.randrange(1, 6)):
                signed.append(self.signature(connection, prefix, kind, tickets[0]))
            tickets.append(self.ticket(connection, prefix, kind, call))
            if None in tickets or None in signed:
                return
            for about, answer, right in signed:
                if answer.json.get("signature") not in map(right, tickets):
                    self.report.fail("a signature that does not fit", "%s %s: %r" % (prefix, about, answer.body[:300]))
        finally:
            connection.close()
        self.pause(0.3)

    def ticket(self, connection, prefix, kind, call):
        answer = self.exchange(connection, "GET", prefix + call, kind="ticket")
        if not self.good(answer):
            return None
        ticket, left = answer.json.get("ticket"), answer.json.get("expires_in")
        if not ticket or not isinstance(left, int) or not 1 <= left <= 600:
            self.report.fail("a ticket that is none", repr(answer.body[:200]))
            return None
        # Each account has its own, of each kind.
        if self.tickets.setdefault(ticket, (prefix, kind)) != (prefix, kind):
            self.crossed("ticket", (prefix, kind), answer)
        return ticket

    def signature(self, connection, prefix, kind, ticket):
        """What was asked for, its answer, and what the signature must be with a ticket."""
        number = next(self.numbers)
        if kind == "wx_card":
            given = {"card_id": "card%d" % number}
            given.update((name, "%s%d" % (name, number)) for name in ("code", "openid") if random.random() < 0.5)
            target, about = "/wxgate/cardext?" + urllib.parse.urlencode(given), "card %d" % number
        else:
            page = "https://example.com/page/%d?a=1&b=%%20+c" % number
            target = "/wxgate/jssdk?url=" + urllib.parse.quote(page + random.choice(["", "#part"]), safe="")
            target, about = target + ("&type=agent_config" if kind == "agent_config" else ""), page
        answer = self.exchange(connection, "GET", prefix + target, kind="signature")
        if not self.good(answer):
            return None
        told = answer.json

        def right(ticket):
            if kind == "wx_card":
                text = "".join(sorted([ticket, told["timestamp"], told["nonce_str"], *given.values()]))
            else:
                text = "jsapi_ticket=%s&noncestr=%s&timestamp=%d&url=%s" % (
                    ticket, told["nonceStr"], told["timestamp"], page)
            return hashlib.sha1(text.encode()).hexdigest()
        if ticket and ticket in answer.body.decode(errors="replace"):
            self.report.fail("a ticket in a signature's answer", about)
        return about, answer, right

    def login(self):
        """Logins without a secret. Their codes work once, so that one that was used before has been sent twice."""
        connection = self.connect(random.random() < 0.5)
        try:
            index, code = random.randrange(2), "code%d" % next(self.numbers)
            call, name = random.choice([("jscode2session", "js_code"), ("oauth2/access_token", "code")])
            extra = random.choice(["", "&appid=%s&secret=STALE" % APPIDS[index], "&appid=&secret="])
            target = "%s/sns/%s?%s=%s%s&grant_type=authorization_code" % (PREFIXES[index], call, name, code, extra)
            answer = self.exchange(connection, "GET", target, kind="login", once=True, expected=(40163,))
            if answer is not None and answer.errcode == 40163:
                self.report.fail("a login that was sent twice", repr(answer.body[:200]))
            if self.good(answer):
                if answer.json.get("openid") != OPENIDS[0]:
                    self.crossed("login", OPENIDS[0], answer)
                if random.random() < 0.2:
                    begun = time.monotonic()
                    answer = self.exchange(connection, "GET", target, kind="login again", once=True, expected=(40163,))
                    if self.good(answer) and not self.disturbances.at(begun, time.monotonic(), "sandbox restart"):
                        self.report.fail("a code that worked twice", repr(answer.body[:200]))
        finally:
            connection.close()
        self.pause(0.1)

    def central(self):
        """An app that fetches its token as WeChat's documents describe, and calls with it through the account that
        adds none. What refuses its token is its own to mend: it asks for the token again, for some seconds."""
        connection, begun = self.connect(random.random() < 0.5), time.monotonic()
        try:
            for _ in range(16):
                token = self.real_token(connection)
                if token is None:
                    self.pause(0.5)
                    continue
                answer = self.user_info(connection, "call with its own token", prefix="/own", token=token,
                                        expected=TOKEN_ERRORS)
                if answer is None or answer.errcode not in TOKEN_ERRORS:
                    break
                if answer.retry:
                    self.report.fail("x-wxgate-retry where nothing is retried", repr(answer.body[:200]))
                self.pause(0.5)
            else:
                # A token that was stolen is found by other calls, and a line that was cut makes them wait.
                if not self.disturbances.at(begun, time.monotonic()):
                    self.report.fail("an app with the real token was not served", "within 8 s")
        finally:
            connection.close()
        self.pause(0.3)

    def real_token(self, connection):
        stable = random.random() < 0.5
        body = {"grant_type": "client_credential", "appid": APPIDS[0], "secret": "x"}
        forced = stable and time.monotonic() > self.next_forced and self.settled
        if forced:
            self.next_forced, body["force_refresh"] = time.monotonic() + 900, True
        if stable:
            answer = self.exchange(connection, "POST", "/cgi-bin/stable_token", json.dumps(body).encode(),
                                   kind="real token, forced" if forced else "real token", key=CENTRAL_KEY)
        else:
            answer = self.exchange(connection, "GET", "/cgi-bin/token?" + urllib.parse.urlencode(body),
                                   kind="real token", key=CENTRAL_KEY)
        if not self.good(answer):
            return None
        token, left = answer.json.get("access_token") or "", answer.json.get("expires_in")
        # As with thefts: no token is replaced that not every node knows yet.
        self.settled = isinstance(left, int) and left < 85
        if not TOKEN_SHAPE.fullmatch(token) or not isinstance(left, int) or not 1 <= left <= 90:
            self.report.fail("no real token for the caller with real_token", "%d characters, %r" % (len(token), left))
            return None
        return token

    # -- a caller with limits --------------------------------------------------------------------------------

    def hurried(self):
        """Calls as fast as it can for a second; no more than its burst and its rate get through."""
        begun, restarts = time.monotonic(), self.restarts
        got = {"through": 0, "limited": 0}
        lock = threading.Lock()

        def call(connection):
            while time.monotonic() < begun + 1 and not self.stopping.is_set():
                answer = self.user_info(connection, "caller with limits", key=LIMITED_KEY, own=("limited",))
                if answer is None:
                    return
                with lock:
                    got["limited" if answer.own == "limited" else "through"] += 1
                if answer.own == "limited":
                    after = answer.headers.get("retry-after") or ""
                    if answer.status != 429 or answer.errcode != 45011 or not after.isdigit() or int(after) < 1:
                        self.report.fail("an answer `limited` of another form", "%d %r" % (answer.status, answer.body[:200]))
                    time.sleep(0.01)
        threads = []
        for _ in range(2 * CONCURRENT):
            threads.append(threading.Thread(target=self.with_connection, args=(call,), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join()
        most = RATE * (time.monotonic() - begun) + RATE + 1
        if got["through"] > most and restarts == self.restarts:
            self.report.fail("more calls than `rate` allows", "%d, %d are allowed" % (got["through"], most))
        if sum(got.values()) > 3 * RATE and not got["limited"]:
            self.report.fail("no call was limited", repr(got))
        self.with_connection(self.not_allowed)
        self.pause(2.0)

    def not_allowed(self, connection):
        answer = self.exchange(connection, "POST", "/cgi-bin/qrcode/create", b"{}", kind="caller with limits, POST",
                               key=LIMITED_KEY, own=("denied", "limited"))
        if answer is not None and answer.own not in ("denied", "limited"):
            self.report.fail("a call that `allow` leaves out", repr(answer.body[:200]))

    def with_connection(self, call):
        connection = self.connect(random.random() < 0.5)
        try:
            call(connection)
        except Exception as error:
            self.report.fail("fault in the soak script", repr(error))
        finally:
            connection.close()

    # -- HTTP/2 ----------------------------------------------------------------------------------------------

    def http2(self):
        """One curl with several streams, over TLS or by prior knowledge; every answer has its own marker."""
        clear = random.random() < 0.3
        base = "http://127.0.0.1:%d" % self.http_port if clear else "https://127.0.0.1:%d" % self.https_port
        folder = self.path("http2-%d" % next(self.numbers))
        os.mkdir(folder)
        try:
            # This curl makes nothing of a second stream where HTTP/2 is not negotiated.
            streams = [self.stream(folder, n) for n in range(1 if clear else STREAMS)]
            sections = []
            for n, (kind, method, target, extra, _, _) in enumerate(streams):
                self.report.count("requests", kind)
                sections.append("\n".join([
                    'url = "%s%s"' % (base, target), 'output = "%s/%d"' % (folder, n), "silent", "max-time = 30",
                    "http2-prior-knowledge" if clear else "http2", 'cacert = "%s/certs/ca.pem"' % ROOT,
                    'header = "X-Wxgate-Key: %s"' % KEY, 'header = "Expect:"',
                    'write-out = "%d %%{http_version} %%{http_code} %%{num_connects} %%{exitcode} '
                    '%%header{x-wxgate-error}|%%header{x-wxgate-retry}\\n"' % n] + extra))
            with open(os.path.join(folder, "curl"), "w") as file:
                file.write("\nnext\n".join(sections) + "\n")
            begun = time.monotonic()
            curl = subprocess.run(["curl", "-q", "--parallel", "--config", os.path.join(folder, "curl")],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=90)
            told = dict(line.split(" ", 1) for line in curl.stdout.decode().splitlines())
            connects = 0
            for n, (kind, method, target, _, check, may_be_gone) in enumerate(streams):
                if str(n) not in told:
                    self.report.fail("fault in the soak script", "curl told nothing: %r" % curl.stderr[:200])
                    continue
                version, status, connected, code, own = told[str(n)].split(" ", 4)
                connects += int(connected)
                if code != "0":
                    error = socket.timeout() if code == "28" else OSError("curl ends with %s" % code)
                    self.broke(begun, kind, error, status != "000", method)
                    continue
                if version != "2":
                    self.report.fail("an answer that is not HTTP/2", "%s: %s" % (kind, version))
                with open(os.path.join(folder, str(n)), "rb") as file:
                    own, retry = own.split("|")
                    answer = Answer(int(status), {"x-wxgate-error": own or None, "x-wxgate-retry": retry or None},
                                    file.read())
                if answer.errcode == 40007 and may_be_gone():
                    self.report.count("expected", "40007, %s that may be gone" % kind)
                    continue
                self.judge(answer, begun, kind, method)
                if self.good(answer):
                    check(kind, answer)
            self.report.count("events", "HTTP/2 connections", connects)
        finally:
            shutil.rmtree(folder)
        self.pause(0.2)

    def stream(self, folder, n):
        """Kind, method, target, further lines for curl, what checks the answer, and whether what it asks for may be gone."""
        what, number, prefix = random.random(), next(self.numbers), random.choice(PREFIXES)
        if what < 0.5:
            openid, marker = random.choice(OPENIDS), "m%d" % number

            def check(kind, answer):
                if ((answer.json or {}).get("language"), answer.json.get("openid")) != (marker, openid):
                    self.crossed(kind, (marker, openid), answer)
            return "h2 GET", "GET", "%s/cgi-bin/user/info?openid=%s&lang=%s" % (prefix, openid, marker), [], check, self.never
        if what < 0.85:
            if what < 0.7:
                field, wanted, target = "expire_seconds", number, prefix + "/cgi-bin/qrcode/create"
                body = json.dumps({"expire_seconds": number, "action_name": "QR_SCENE", "fill": "x" * random.choice(
                    (0, 3000, 60000))}).encode()
            else:
                target, field = "/corp/cgi-bin/message/send", "invaliduser"
                wanted, body = self.message()
            with open(os.path.join(folder, "body%d" % n), "wb") as file:
                file.write(body)

            def check(kind, answer):
                if (answer.json or {}).get(field) != wanted:
                    self.crossed(kind, wanted, answer)
            return "h2 POST", "POST", target, ['data-binary = "@%s/body%d"' % (folder, n)], check, self.never
        fresh = [one for one in list(self.pictures) if not one[-1]()]
        if what < 0.93 or not fresh:
            picture = (b"picture %020d " % number) * (2 * 1024 * 1024 // 29)
            with open(os.path.join(folder, "picture%d" % n), "wb") as file:
                file.write(picture)

            sandbox, uploaded = self.sandbox, self.uploaded()

            def may_be_gone():
                return sandbox is not self.sandbox or self.uploaded() > uploaded + KEPT

            def check(kind, answer):
                self.pictures.append((prefix, answer.json["media_id"], hashlib.sha1(picture).digest(), may_be_gone))
            form = 'form = "media=@%s/picture%d;type=image/jpeg;filename=a.jpg"' % (folder, n)
            return "h2 upload 2 MiB", "POST", prefix + "/cgi-bin/media/upload?type=image", [form], check, self.never
        prefix, medium, wanted, may_be_gone = random.choice(fresh)

        def check(kind, answer):
            if hashlib.sha1(answer.body).digest() != wanted:
                self.crossed(kind, number, answer)
        return "h2 download 2 MiB", "GET", "%s/cgi-bin/media/get?media_id=%s" % (prefix, medium), [], check, may_be_gone

    @staticmethod
    def never():
        return False

    def uploaded(self):
        """MiB of pictures that callers have begun to upload."""
        begun = self.report.counts["requests"]
        return 5 * begun["upload 5 MiB"] + 2 * begun["h2 upload 2 MiB"]
