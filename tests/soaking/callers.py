"""Callers of the soak run that make plain calls of official accounts, and how every answer is judged.

Each kind is one turn, called again and again; `Soak` in `tests/soak.py` has what they call with.
"""

import base64
import http.client
import json
import random
import socket
import struct
import time

from .parts import EARLY, KEY, OPENIDS, PASSED_ON, PASSING, PREFIXES, TOKEN_ERRORS, Answer


class Callers:
    """Calls, and turns of those who make them."""

    def connect(self, tls):
        if tls:
            return http.client.HTTPSConnection("127.0.0.1", self.https_port, timeout=30, context=self.trust)
        return http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)

    def headers(self, key):
        if random.random() < 0.5:
            return {"X-Wxgate-Key": key}
        return {"Authorization": "Basic " + base64.b64encode(b"soak:" + key.encode()).decode()}

    def exchange(self, connection, method, target, body=None, kind="", key=KEY, once=False, expected=(), own=(),
                 **headers):
        """One call; None when the connection broke, which has then been judged.

        `once`: it is never sent twice, whatever its method. The caller looks at errcodes `expected` and at these `own`
        answers itself.
        """
        begun, answering = time.monotonic(), False
        self.report.count("requests", kind)
        try:
            chunked = "Transfer-Encoding" in headers
            try:
                connection.request(method, target, body, {**self.headers(key), **headers}, encode_chunked=chunked)
            except (BrokenPipeError, ConnectionResetError):
                # An answer may be there all the same: it came before the end of the body.
                pass
            response = connection.getresponse()
            answering = True
            answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self.broke(begun, kind, error, answering, "POST" if once else method)
            return None
        if answer.own in own or answer.errcode in expected:
            self.report.count("expected", "%s, %s" % (answer.own or answer.errcode, kind))
        else:
            self.judge(answer, begun, kind, "POST" if once else method)
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
            if answer.errcode == EARLY and "upload" in kind:
                with self.report.lock:
                    early = self.report.counts["errcodes passed on"][name]
                if kind != "upload 18 MiB" and early > self.early_ordered + self.report.counts["requests"]["upload 18 MiB"]:
                    self.report.fail("an answer that nobody ordered", about)
            elif not gone_medium and (answer.errcode not in PASSED_ON | {0} or answer.status not in (200, 502)):
                self.report.fail("an answer that nobody ordered", about)
            elif not self.disturbances.at(begun, now):
                self.report.fail("a failure without a cause", about)

    def good(self, answer):
        return answer is not None and answer.status == 200 and not answer.own and not answer.errcode

    def crossed(self, kind, wanted, answer):
        self.report.fail("crossed answer", "%s: wanted %s, got %r" % (kind, wanted, answer.body[:300]))

    def user_info(self, connection, kind, prefix=None, token=None, **headers):
        marker, openid = "m%d" % next(self.numbers), random.choice(OPENIDS)
        prefix = random.choice(PREFIXES) if prefix is None else prefix
        sent = random.choice(["", "access_token=STALE-TOKEN&", "access_token=&"])
        sent = "access_token=%s&" % token if token else sent
        target = "%s/cgi-bin/user/info?%sopenid=%s&lang=%s" % (prefix, sent, openid, marker)
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

    # -- kinds of callers ----------------------------------------------------------------------------------

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
        sent = begun
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
                sent = time.monotonic()
                response = http.client.HTTPResponse(stream)
                response.begin()
                answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            return self.broke(begun, kind, error, method="POST" if way == "body" else "GET")
        if way == "head" and answer.own == "caller-timeout" and sent > begun + 5:
            # On a busy machine it was really too slow.
            return self.report.count("expected", "caller-timeout for a head that took 5 s")
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
