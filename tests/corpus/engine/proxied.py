"""The published leak of http-proxy 1.18.1: its upstream sockets go to zero, and it serves on.

Exit status: 0 so it is; 1 else, with a line for each.
"""

import http.client
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "bench" / "engine"))

from fixing import Fixed, Fixer
from leaking import SOURCES, sockets_to
from serving import free_port
from variants import public_copy

PACKAGE = "http-proxy@1.18.1"
# Clients that hang up without an answer.
ABORTED = 100
AGE = "5s"


def install(folder: Path) -> Path:
    """The package, by npm, once."""
    modules = folder / "node_modules"
    if not (modules / "http-proxy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        options = ["--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        subprocess.run(["npm", "install", *options, PACKAGE], check=True, timeout=300)
    return modules


class Proxy:
    """The proxy under the library, with its upstream."""

    def __init__(self, folder: Path, modules: Path, library: str) -> None:
        self.port = free_port()
        environment = {**os.environ, "NODE_PATH": str(modules), "MEMGUARD_DIR": str(folder / "segments"), "LD_PRELOAD": library}
        self.process = subprocess.Popen(
            ["node", str(SOURCES / "proxy.js"), "600", str(self.port)], env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert self.process.stdout.readline() == b"ready\n"
        self.upstream = int(self.ask("/upstream"))

    def ask(self, path: str, patience: float = 20) -> bytes:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=patience)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def abort(self) -> None:
        """A client that does not wait for the answer."""
        try:
            self.ask("/never", 0.1)
        except TimeoutError:
            pass

    def upstreams(self) -> int:
        """Its connections to the upstream, by the kernel's tables."""
        wanted, count = sockets_to(self.upstream), 0
        for fd in os.listdir(f"/proc/{self.process.pid}/fd"):
            try:
                count += os.stat(f"/proc/{self.process.pid}/fd/{fd}").st_ino in wanted
            except OSError:
                continue
        return count

    def stop(self) -> None:
        """Its upstream ends with its standard input."""
        self.process.kill()
        self.process.wait(10)


class Clients(threading.Thread):
    """Twenty requests a second that are answered, one in five besides that is not, as long as asked for."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(daemon=True)
        self.proxy, self.on, self.aborting, self.aborted, self.done, self.failed = proxy, True, True, 0, 0, 0

    def run(self) -> None:
        """Until told."""
        while self.on:
            try:
                self.failed += self.proxy.ask("/close") != b"quick\n"
            except (OSError, http.client.HTTPException) as error:
                self.failed += 1
                print(f"proxied: {error!r}", file=sys.stderr)
            self.done += 1
            if self.aborting and self.done % 5 == 0:
                self.proxy.abort()
                self.aborted += 1
            time.sleep(0.02)


def agree(fixer: Fixer, pid: int, upstream: int) -> int:
    """Somebody reads the report while it leaks, and says so too of all that goes to the upstream:
    what no longer comes is no leak by statistics alone."""
    report = fixer.json("report", str(pid), "--min-age", AGE, "--kind", "sockets") or {"findings": []}
    meant = [one for one in report["findings"] if is_upstream(one, upstream)]
    for finding in meant:
        fixer.run("label", "leak", finding["id"], str(pid))
    return sum(finding["verdict"] == "leak" for finding in meant)


def is_upstream(finding: dict, port: int) -> bool:
    """Whether it holds connections to that port and nothing else."""
    peers = [one.get("peer") or "" for one in finding["resources"]]
    return bool(peers) and all(peer.endswith(f":{port}") for peer in peers)


def main() -> int:
    """Leak, fix, count."""
    modules = install(ROOT / "target" / "corpus" / "node")
    with tempfile.TemporaryDirectory(prefix="memguard-proxied-") as name:
        folder, release = Path(name), ROOT / "target" / "release"
        proxy = Proxy(folder, modules, public_copy(release / "libmemguard.so", folder))
        fixer = Fixer(Path(public_copy(release / "memguard", folder)), folder / "state", folder / "segments")
        clients = Clients(proxy)
        try:
            clients.start()
            while clients.aborted < ABORTED:
                time.sleep(0.1)
            agreed = agree(fixer, proxy.process.pid, proxy.upstream)
            clients.aborting = False
            time.sleep(7)
            before, said, rounds = proxy.upstreams(), Fixed(), 0
            while proxy.upstreams() and rounds < 3:
                said.add(proxy.process.pid, fixer.fix(proxy.process.pid, "--min-age", AGE, "--rate", "unlimited") or {"items": []})
                rounds += 1
            clients.on = False
            clients.join(30)
            after, alive = proxy.upstreams(), proxy.process.poll() is None
            answered = alive and proxy.ask("/close") == b"quick\n"
        finally:
            proxy.stop()
    print(f"{PACKAGE}: upstream sockets {before} -> {after} in {rounds} fixes, {clients.failed} of {clients.done} requests failed")
    print(f"{agreed} leaks reported; memguard says {dict(said.outcomes)}, gates shut {dict(said.refused_by)}", file=sys.stderr)
    fine = before >= ABORTED and after == 0 and answered and not clients.failed
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
