"""Calls from PHP over a path with a delay, for `benches/end-to-end`: direct, and through wxgate.

The delay is a forwarder on loopback: each byte is half a round trip late in both directions. Nothing is lost, and
nothing is limited. Connecting takes no time on loopback, so a connection's first bytes are one round trip later still.
"""

import json
import queue
import socket
import subprocess
import sys
import threading
import time

from configurations import TOKEN
from loads import USER_INFO
from servers import CERTS

ROUND_TRIP = 0.030

# As an app under PHP-FPM calls: a new handle, and so a new connection, for each. The first call is not counted: it
# has in it what PHP sets up once for a process.
PHP = r"""
[$_, $url, $trust, $calls] = $argv;
$ms = [];
for ($i = 0; $i <= $calls; $i++) {
    $began = hrtime(true);
    $call = curl_init($url);
    curl_setopt_array($call, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 10, CURLOPT_CAINFO => $trust]);
    $answer = curl_exec($call);
    curl_close($call);
    $ms[] = round((hrtime(true) - $began) / 1e6, 2);
    if (strpos((string) $answer, 'subscribe_scene') === false) { fwrite(STDERR, "no answer: $answer\n"); exit(1); }
}
echo json_encode(array_slice($ms, 1));
"""


def version(php):
    """PHP's, or None where it cannot do what is needed."""
    said = subprocess.run([php, "-r", "echo function_exists('curl_init') ? PHP_VERSION : '';"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True).stdout
    return said or None


def calls(php, ways, count):
    """`{way: milliseconds of each call}`, one way after the other; `ways` has where each begins its URLs."""
    return {way: php_calls(php, at, count) for way, at in ways.items()}


def php_calls(php, at, count):
    # An app that calls directly has a token of its own. A trust store of one certificate is loaded faster than the
    # system's: what that costs each call is left out.
    url = at + USER_INFO + (f"&access_token={TOKEN}" if at.startswith("https:") else "")
    ended = subprocess.run([php, "-r", PHP, "--", url, CERTS / "ca.pem", str(count)], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    return json.loads(ended.stdout) if ended.returncode == 0 else sys.exit(f"php failed:\n{ended.stderr}")


class Path:
    """A port from which connections go to `port`, late, from `with` to its end."""

    def __init__(self, port):
        self.to = port

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        # close() alone leaves a thread in accept().
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def accept(self):
        while True:
            try:
                caller = self.socket.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.to))
            for one in (caller, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, connecting in ((caller, server, ROUND_TRIP), (server, caller, 0)):
                late = queue.SimpleQueue()
                threading.Thread(target=read, args=(source, late, connecting), daemon=True).start()
                threading.Thread(target=write, args=(sink, late), daemon=True).start()


def read(source, late, connecting):
    established = None
    data = True
    while data:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        now = time.monotonic()
        established = established or now + connecting
        late.put((max(now, established) + ROUND_TRIP / 2, data))


def write(sink, late):
    data = True
    while data:
        due, data = late.get()
        time.sleep(max(0, due - time.monotonic()))
        try:
            sink.sendall(data) if data else sink.shutdown(socket.SHUT_WR)
        except OSError:
            return
