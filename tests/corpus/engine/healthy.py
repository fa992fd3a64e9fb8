"""All healthy servers at once under load: no report may call anything a leak.

Exit status: 0 no leak and every server answered; 1 else, with a line for each.
"""

import argparse
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "bench" / "engine"))

from asking import report
from corpus_page import table
from manifest import rank
from running import BARE
from servers import Server, servers
from serving import command_under, free_port
from variants import Variant, public_copy

AGES = {"default": [], "5s": ["--min-age", "5s"]}


@dataclass
class Seen:
    """What was reported of one server."""

    reports: int = 0
    processes: set[int] = field(default_factory=set)
    verdicts: dict[str, Counter] = field(default_factory=lambda: {age: Counter() for age in AGES})
    leaks: dict[str, str] = field(default_factory=dict)


class Running:
    """A server under the library, with the process that asks it."""

    def __init__(self, server: Server, folder: Path, under: Variant) -> None:
        self.server, self.seen, self.port = server, Seen(), free_port()
        self.folder = folder / server.name
        self.folder.mkdir()
        self.folder.chmod(0o755)
        server.service.prepare(self.folder)
        self.log = folder / f"{server.name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command_under(server.service, under, self.folder, self.port),
                env=BARE.full_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.counts = multiprocessing.Array("q", 2, lock=False)
        self.driver: multiprocessing.Process | None = None

    def drive(self, seconds: float) -> None:
        """Starts the clients, in a process of their own."""
        arguments = (self.port, self.server.per_second, seconds, self.counts)
        self.driver = multiprocessing.Process(target=self.server.client.drive, args=arguments, daemon=True)
        self.driver.start()

    def look(self, memguard: Path) -> None:
        """Reports on all its processes, by the built-in ages and by a short one."""
        for pid in family(self.process.pid):
            for age, options in AGES.items():
                self.note(pid, age, report(memguard, pid, options))

    def note(self, pid: int, age: str, document: dict | None) -> None:
        """What one report says; a process that has just ended has none."""
        if document is None or not document["process"]["instrumented"]:
            return
        self.seen.reports += 1
        self.seen.processes.add(pid)
        for row in document["findings"]:
            self.seen.verdicts[age][row["verdict"]] += 1
            if row["verdict"] == "leak":
                place = next((frame["function"] for frame in row["stack"] if frame["function"]), "an unknown place")
                said = f"{row['kind']} of {place}: {row['summary']} {' '.join(row['evidence'])}"
                self.seen.leaks.setdefault(row["id"], f"pid {pid}, --min-age {age}: {said}")

    def stop(self) -> None:
        """Ends the server and what it left, then the clients."""
        # PostgreSQL's quick way out; the others know TERM.
        self.process.send_signal(signal.SIGINT if self.server.name == "postgres" else signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.process.wait(10)
        if self.driver is not None:
            self.driver.kill()
            self.driver.join(10)

    def failures(self) -> list[str]:
        """What must not be."""
        done, failed = self.counts
        lines = [f"called a leak: {said}" for said in self.seen.leaks.values()]
        if self.process.poll() is not None:
            lines.append(f"ended with status {self.process.returncode}; its output is in {self.log}")
        if done == 0 or failed > done / 100:
            lines.append(f"answered {done} requests and failed {failed}; its output is in {self.log}")
        if self.seen.reports == 0:
            lines.append("was never reported on: the library is not in it")
        return lines


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found, at = [pid], 0
    while at < len(found):
        for task in Path(f"/proc/{found[at]}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
        at += 1
    return found


def wait_until_they_answer(all_running: list[Running]) -> None:
    """Half a minute for each to listen."""
    end_at = time.monotonic() + 30
    for one in all_running:
        while time.monotonic() < end_at and one.server.client.ask_once(one.port, {}, None, 1):
            time.sleep(0.1)


def worst(verdicts: Counter) -> str:
    """The worst of what was seen, with how often."""
    name = max(verdicts, key=rank, default="none")
    return f"{name} ({verdicts[name]})" if verdicts else "none"


def summary(all_running: list[Running], minutes: float) -> str:
    """A line for each server."""
    head = ["server", "requests/s", "failed", "processes", "reports", "worst, default", "worst, 5s", "leaks"]
    rows = []
    for one in all_running:
        done, failed = one.counts
        seen = one.seen
        counts = [f"{done / minutes / 60:.0f}", str(failed), str(len(seen.processes)), str(seen.reports)]
        rows.append([one.server.name, *counts, *(worst(seen.verdicts[age]) for age in AGES), str(len(seen.leaks))])
    return table(head, rows)


def watch(all_running: list[Running], memguard: Path, options: argparse.Namespace) -> None:
    """Reports until time is over, and a last one."""
    begun, number = time.monotonic(), 0
    while (due := (number + 1) * options.every) <= options.minutes * 60:
        time.sleep(max(0.0, begun + due - time.monotonic()))
        for one in all_running:
            one.look(memguard)
        number = max(number + 1, int((time.monotonic() - begun) / options.every))
        leaks = sum(len(one.seen.leaks) for one in all_running)
        print(f"healthy: {due / 60:.1f} minutes, {leaks} leaks", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/healthy", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30, metavar="N", help="how long (30)")
    parser.add_argument("--every", type=float, default=60, metavar="N", help="seconds between two rounds of reports (60)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this server only; may be repeated")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table there too")
    return parser.parse_args()


def chosen(names: list[str] | None) -> list[Server]:
    """The servers that were asked for."""
    known = servers()
    unknown = set(names or []) - {one.name for one in known}
    if unknown:
        raise SystemExit(f"healthy: there is no server {', '.join(unknown)}; name some of {', '.join(one.name for one in known)}.")
    return [one for one in known if not names or one.name in names]


def main() -> int:
    """The whole run."""
    options = arguments()
    release = ROOT / "target" / "release"
    folder = Path(tempfile.mkdtemp(prefix="memguard-healthy-"))
    folder.chmod(0o755)
    under = Variant("memguard", {"LD_PRELOAD": public_copy(release / "libmemguard.so", folder)})
    all_running: list[Running] = []
    try:
        for server in chosen(options.only):
            all_running.append(Running(server, folder, under))
        wait_until_they_answer([one for one in all_running if one.server.name != "postgres"])
        for one in all_running:
            one.drive(options.minutes * 60)
        watch(all_running, release / "memguard", options)
        failed = [f"{one.server.name} {line}" for one in all_running for line in one.failures()]
    finally:
        for one in all_running:
            one.stop()
    text = summary(all_running, options.minutes)
    print(text)
    if options.output:
        options.output.write_text(text)
    for line in failed:
        print(f"healthy: {line}", file=sys.stderr)
    if not failed:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(all_running)} servers, {options.minutes:g} minutes, {sum(len(one.seen.leaks) for one in all_running)} leaks")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
