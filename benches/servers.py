"""The servers of `benches/end-to-end`: the upstream, and each proxy before it.

It starts, checks and stops them, and reads their CPU and memory; it puts no load on them.
"""

import contextlib
import http.client
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

from configurations import FOLLOWER, KINDS, SAME, TOKEN

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
CERTS = ROOT / "certs"
TICKS = os.sysconf("SC_CLK_TCK")


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def program(name):
    """Debian keeps servers in /usr/sbin, which not everybody has in PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")


def kind_of(name):
    name = name.partition("@")[0]
    return SAME.get(name, name)


def optimised():
    """The newest binary that packaging/optimised has made, or None."""
    made = [path for path in (TARGET / "dist").glob("wxgate-*") if os.access(path, os.X_OK)]
    return str(max(made, key=lambda path: path.stat().st_mtime)) if made else None


def lua_modules():
    """The lines that load Lua into nginx, or None where this nginx has it not."""
    said = subprocess.run([program("nginx"), "-V"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    folder = re.search(r"--modules-path=(\S+)", said)
    paths = [pathlib.Path(folder[1]) / f"{name}_module.so" for name in ("ndk_http", "ngx_http_lua")] if folder else []
    return "".join(f"load_module {path};\n" for path in paths) if paths and all(path.exists() for path in paths) else None


class Server:
    """A server on ports of its own, in a process group of its own, from `with` to its end."""

    def __init__(self, name, tool, folder, upstream, cpus, settings):
        self.kind, self.tool, self.cpus = kind_of(name), tool, cpus
        self.port, self.tls_port = free_port(), free_port()
        self.folder = folder / name.replace("/", "-")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        # What is in the templates' braces.
        self.known = dict(settings, dir=self.folder, port=self.port, tls_port=self.tls_port, upstream=upstream,
                          workers=len(cpus), token=TOKEN, certs=CERTS, follower=FOLLOWER,
                          modules=lua_modules() if self.kind == "nginx-lua" else "",
                          user="user root;" if os.geteuid() == 0 else "")
        if name == "nginx-256":
            self.known["kept"] = 256
        if self.kind == "upstream":
            (self.folder / "media").symlink_to(folder / "media")
        # In the forms that HAProxy and wxgate ask for.
        private(self.folder / "key", (CERTS / "server.key").read_text())
        private(self.folder / "pem", (CERTS / "server.pem").read_text() + (CERTS / "server.key").read_text())

    def command(self):
        template, arguments = KINDS[self.kind]
        # It holds a secret of wxgate's account, if a made-up one.
        file = private(self.folder / "configuration", template.format(**self.known))
        return [self.tool, *(argument.format(**self.known) for argument in arguments), file]

    def __enter__(self):
        self.log = open(self.folder / "log", "w+")
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cpus)  # for the child to inherit
        self.process = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
                                        start_new_session=True)
        os.sched_setaffinity(0, mine)
        until = time.monotonic() + 10
        while not listens(self.port):
            if self.process.poll() is not None or time.monotonic() > until:
                self.log.seek(0)
                said = self.log.read()
                self.__exit__()
                sys.exit(f"{self.kind} does not serve:\n{said}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        for order in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self.process.pid, order)
                self.process.wait(5)
        self.log.close()

    def processes(self):
        """The server's process and its children; none of these servers has grandchildren."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def cpu_seconds(self):
        return sum(map(ticks_of, self.processes())) / TICKS

    def memory_mib(self):
        """Proportional set size; `None` where that may not be read."""
        kib = 0
        for pid in self.processes():
            try:
                lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except PermissionError:
                return None
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return kib / 1024


def private(file, text):
    file.touch(mode=0o600)
    file.write_text(text)
    return file


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def listens(port):
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def ticks_of(pid):
    """User and system time of a process, and of those of its children that have ended."""
    # What follows the name in brackets.
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def machine_seconds():
    """What all processes that can be seen have worked, and what the hypervisor has kept from them. Not from the sums
    of /proc/stat: whether those count a process's soft interrupts twice depends on the kernel."""
    ticks = int(pathlib.Path("/proc/stat").read_text().split(maxsplit=9)[8])
    for file in pathlib.Path("/proc").glob("[0-9]*/stat"):
        # One that has just ended lives on in its parent's figures.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            ticks += ticks_of(file.parent.name)
    return ticks / TICKS


def version(tool):
    """The first number with dots in what the program says about itself."""
    flag = "--version" if "wxgate" in os.path.basename(tool) else "-v"
    said = subprocess.run([tool, flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    found = re.search(r"\d+\.\d[\w.+-]*", said)
    return found[0] if found else said.strip()


def check(name, server, folder):
    """Ends the run unless the proxy does what it is measured for."""

    def ask(method, target, body=None, tls=False):
        if tls:
            trust = ssl.create_default_context(cafile=CERTS / "ca.pem")
            connection = http.client.HTTPSConnection("localhost", server.tls_port, timeout=20, context=trust)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request(method, target, body, {"Content-Type": "application/octet-stream"} if body else {})
        answer = connection.getresponse()
        read = answer.read()
        connection.close()
        return answer.status, read

    def expect(what, found, right):
        if found != right:
            sys.exit(f"{name}: {what}: {str(found)[:300]} is not {str(right)[:300]}")

    status, seen = ask("GET", "/cgi-bin/bench/seen?openid=a%26b%2Fc&lang=zh_CN")
    expect("status", status, 200)
    method, target, host = seen.decode().split(" ")
    path, _, query = target.partition("?")
    expect("method and path", (status, method, path), (200, "GET", "/cgi-bin/bench/seen"))
    expect("host", host.partition(":")[0], "localhost")
    expect("query", sorted(query.split("&")), sorted([f"access_token={TOKEN}", "openid=a%26b%2Fc", "lang=zh_CN"]))
    for tls in (False, True):
        expect("GET", ask("GET", "/cgi-bin/user/info?openid=o", tls=tls), (200, FOLLOWER.encode()))
    expect("download", ask("GET", "/cgi-bin/media/get?media_id=M1"), (200, (folder / "media").read_bytes()))
    for file, path in (("message", "/cgi-bin/message/custom/send"), ("upload", "/cgi-bin/media/upload")):
        body = (folder / file).read_bytes()
        status, kept = ask("POST", "/cgi-bin/bench/kept", body)
        expect(f"{file}, status", status, 200)
        expect(f"{file}, body", pathlib.Path(kept.decode()).read_bytes(), body)
        expect(file, ask("POST", path, body), (200, b'{"errcode":0,"errmsg":"ok"}'))
