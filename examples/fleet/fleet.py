#!/usr/bin/env python3
"""Three wxgate with one Redis behind a small balancer, killed, stopped and cut off at random.

Starts redis-server, `wxgate sandbox` in WeChat's place, the replicas and the balancer on loopback, calls through the
balancer all the while, and reports. Ends with 1 where a caller got an error. Needs Python 3.9 and redis-server.
"""

import argparse
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATH = "/cgi-bin/user/get"
# Thefts are answered by forced fetches, of which wxgate allows few.
MOST_THEFTS = 6


def free_port():
    # Below the ports of outgoing connections: one of those would keep a replica that was killed from its port.
    while True:
        port = random.randrange(10_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
            return port
        except OSError:
            pass


def ask(port, path, method="GET", timeout=3):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def until(what, probe, limit=20):
    end = time.monotonic() + limit
    while True:
        try:
            if found := probe():
                return found
        except (OSError, ValueError, KeyError, IndexError, TypeError, http.client.HTTPException):
            pass
        if time.monotonic() > end:
            raise SystemExit(f"fleet: not within {limit} s: {what}")
        time.sleep(0.01)


class Process:
    """A program that is started again with the same arguments."""

    def __init__(self, directory, name, port, *command):
        self.name, self.port, self.command = name, port, command
        self.log = open(os.path.join(directory, name + ".log"), "wb")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)
        try:
            until(f"{self.name} listens", lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() or True)
        except BaseException:
            # Nobody else knows of it yet.
            self.kill()
            raise

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Replica(Process):
    def __init__(self, directory, name, wxgate, upstream, redis):
        self.admin = free_port()
        port = free_port()
        file = os.path.join(directory, name + ".toml")
        with open(file, "w", encoding="utf-8") as config:
            config.write(
                f'listen = ["127.0.0.1:{port}"]\nworkers = 1\nstate_dir = "{directory}/{name}"\n'
                f'[upstream]\nurl = "http://127.0.0.1:{upstream}"\n'
                f'[admin]\nlisten = "127.0.0.1:{self.admin}"\n'
                f'[store]\nkind = "redis"\nurl = "redis://127.0.0.1:{redis}/0"\n'
                '[[account]]\nname = "main"\nappid = "wx0000000000000001"\nsecret = "sandbox0secret0sandbox0secret001"\n'
            )
        super().__init__(directory, name, port, wxgate, "serve", "--config", file)

    def status(self):
        return json.loads(ask(self.admin, "/status")[1])

    def generation(self):
        return self.status()["accounts"][0]["generation"]

    def shares(self):
        return self.status()["store"]["up"]


class Balancer(ThreadingHTTPServer):
    """In turn; one that does not answer is left out for a second, and its call goes to the next."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, replicas):
        self.replicas, self.turn, self.tried_again = replicas, 0, 0
        self.down = dict.fromkeys(range(len(replicas)), 0.0)
        super().__init__(("127.0.0.1", 0), Call)

    def pass_on(self, path):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            self.turn = at = (self.turn + 1) % len(self.replicas)
            if self.down[at] > time.monotonic():
                time.sleep(0.001)
                continue
            try:
                return ask(self.replicas[at].port, path, timeout=4)
            except (OSError, http.client.HTTPException):
                self.down[at] = time.monotonic() + 1
                self.tried_again += 1
        return 502, b"no replica answers"


class Call(BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = self.server.pass_on(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Callers:
    def __init__(self, port, count):
        self.calls, self.errors, self.slowest = 0, [], 0.0
        self.port, self.ends, self.lock = port, threading.Event(), threading.Lock()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.ends.is_set():
            began = time.monotonic()
            try:
                status, body = ask(self.port, PATH, timeout=15)
                wrong = None if status == 200 and json.loads(body).get("errcode", 0) == 0 else f"{status} {body[:200]!r}"
            except (OSError, ValueError, http.client.HTTPException) as error:
                wrong = repr(error)
            with self.lock:
                self.calls += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
                if wrong:
                    self.errors.append(wrong)
            time.sleep(0.01)

    def stop(self):
        self.ends.set()
        for thread in self.threads:
            thread.join()


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=120)
    arguments.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments.add_argument("--wxgate", default="wxgate", help="the program")
    arguments = arguments.parse_args()
    chance = random.Random(arguments.seed)
    processes = []
    with tempfile.TemporaryDirectory() as directory:
        try:
            return run(arguments, chance, directory, processes)
        finally:
            for process in processes:
                process.kill()


def run(arguments, chance, directory, processes):
    def started(process):
        processes.append(process)
        return process

    port = free_port()
    redis = started(
        Process(directory, "redis", port, "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "")
    )
    port = free_port()
    sandbox = started(
        Process(directory, "sandbox", port, arguments.wxgate, "sandbox", "--plain", "--api-quota", "0", "--listen", f"127.0.0.1:{port}")
    )
    replicas = [
        started(Replica(directory, f"replica{n}", arguments.wxgate, sandbox.port, redis.port)) for n in (1, 2, 3)
    ]

    def settled():
        until("all replicas share one token", lambda: all(replica.shares() for replica in replicas) and same())

    def same():
        return len({replica.generation() for replica in replicas}) == 1

    settled()
    balancer = Balancer(replicas)
    threading.Thread(target=balancer.serve_forever, daemon=True).start()
    callers = Callers(balancer.server_address[1], 4)
    adopted, done = [], {}

    def steal():
        before = max(replica.generation() for replica in replicas)
        ask(sandbox.port, "/sandbox/steal-token", "POST")
        until("one has a new token", lambda: any(replica.generation() > before for replica in replicas))
        first = time.monotonic()
        until("all have it", lambda: all(replica.generation() > before for replica in replicas))
        adopted.append(time.monotonic() - first)

    def kill_a_replica():
        replica = chance.choice(replicas)
        replica.kill()
        time.sleep(chance.uniform(0, 1))
        replica.start()

    def pause(process, longest):
        process.signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0.5, longest))
        process.signal(signal.SIGCONT)

    def empty_redis():
        redis.kill()
        time.sleep(chance.uniform(0, 3))
        redis.start()

    def cut():
        for kind in ("normal", "pubsub"):
            with socket.create_connection(("127.0.0.1", redis.port), 2) as connection:
                connection.sendall(f"CLIENT KILL TYPE {kind}\r\n".encode())
                connection.recv(64)

    events = {
        "token stolen": steal,
        "replica killed": kill_a_replica,
        "replica stopped for a while": lambda: pause(chance.choice(replicas), 2),
        "redis killed, started empty": empty_redis,
        "redis paused for a while": lambda: pause(redis, 3),
        "connections to redis cut": cut,
    }
    end = time.monotonic() + arguments.seconds
    while time.monotonic() < end:
        some = [name for name in events if name != "token stolen" or done.get(name, 0) < MOST_THEFTS]
        # The rarest first, so that a short run has each of them.
        rarest = min(done.get(name, 0) for name in some)
        name = chance.choice([name for name in some if done.get(name, 0) == rarest])
        events[name]()
        done[name] = done.get(name, 0) + 1
        settled()
        time.sleep(chance.uniform(0, 0.5))
    callers.stop()
    fetches = json.loads(ask(sandbox.port, "/sandbox/stats")[1])["fetches"]
    print(f"seed                {arguments.seed}")
    print(f"calls               {callers.calls}, the slowest {callers.slowest:.2f} s")
    print(f"errors at callers   {len(callers.errors)}")
    print(f"passed on again     {balancer.tried_again} (a replica did not answer the balancer)")
    print(f"fetches             {sum(fetches.values())}")
    print("adoption            " + (", ".join(f"{t * 1000:.0f} ms" for t in adopted) or "nothing was stolen"))
    for name, count in done.items():
        print(f"{name:<28}{count}")
    for error in callers.errors[:5]:
        print(f"error: {error}", file=sys.stderr)
    return 1 if callers.errors or not callers.calls else 0


if __name__ == "__main__":
    sys.exit(main())
