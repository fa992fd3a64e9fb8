"""Fixes thousands of forgotten sockets of a server under load, and counts."""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
RELEASE = pathlib.Path(os.environ.get("MEMGUARD_TEST_RELEASE") or ROOT / "target/release")


class Load(threading.Thread):
    """One request after the other, each on a connection of its own."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.on, self.done, self.failed, self.worst_s = port, True, 0, 0, 0.0

    def run(self):
        while self.on:
            begun = time.monotonic()
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
                    client.sendall(b"ping")
                    self.failed += client.recv(4) != b"ping"
            except OSError:
                self.failed += 1
            self.done += 1
            self.worst_s = max(self.worst_s, time.monotonic() - begun)
            time.sleep(0.005)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def memguard(folder, *args):
    environment = {**os.environ, "MEMGUARD_DIR": folder, "MEMGUARD_STATE": f"{folder}/state"}
    command = [str(RELEASE / "memguard"), *args]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def start(folder, count, port):
    program = f"{folder}/serves"
    source = ROOT / "cli/tests/fixtures/serves.c"
    subprocess.run(["gcc", "-O1", "-g", "-pthread", "-o", program, str(source)], check=True)
    library = str(RELEASE / "libmemguard.so")
    environment = {**os.environ, "LD_PRELOAD": library, "MEMGUARD_DIR": folder}
    server = subprocess.Popen(
        [program, "loop", str(count), str(port)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout.readline().startswith("READY")
    return server


def blame(folder, pid):
    report = json.loads(memguard(folder, "report", "--format", "json", str(pid)).stdout)
    for finding in report["findings"]:
        if any(frame["function"] == "connect_upstream" for frame in finding["stack"]):
            memguard(folder, "label", "leak", finding["id"])
            return finding["id"]
    raise SystemExit("no finding has connect_upstream in its stack")


def main():
    parser = argparse.ArgumentParser(prog="scripts/fixes", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="forgotten connections (5000)")
    parser.add_argument("--rate", default="unlimited", help="fixes a second (unlimited)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        server = start(folder, args.count, port)
        try:
            measure(folder, server, port, args)
        finally:
            server.kill()
            server.wait()


def measure(folder, server, port, args):
    pid, loads = server.pid, [Load(port) for _ in range(4)]
    finding = blame(folder, pid)
    before = descriptors(pid)
    for load in loads:
        load.start()
    begun = time.monotonic()
    wanted = ["--yes", "--min-age", "0s", "--rate", args.rate, "--format", "json"]
    fixed = memguard(folder, "fix", str(pid), finding, *wanted)
    took = time.monotonic() - begun
    time.sleep(1)
    for load in loads:
        load.on = False
    for load in loads:
        load.join()
    time.sleep(0.5)
    plan = json.loads(fixed.stdout)
    outcomes = {}
    for item in plan["items"]:
        outcomes[item["outcome"]] = outcomes.get(item["outcome"], 0) + 1
    print("outcomes            ", outcomes, "stopped:", plan["stopped"])
    print("descriptors         ", before, "->", descriptors(pid), "(each with its peer in the same process)")
    print("requests, failed    ", sum(load.done for load in loads), sum(load.failed for load in loads))
    print("slowest request     ", f"{max(load.worst_s for load in loads) * 1000:.0f} ms")
    print("restarts            ", 0 if server.poll() is None else 1)
    print("the whole command   ", f"{took:.1f} s")


if __name__ == "__main__":
    main()
