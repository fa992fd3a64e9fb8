"""Servers, bash and sqlite under load, with every verdict forced to `leak`: gates and gentleness alone protect them.

Nothing may end, spin, lose a lock or change a file, and no more requests may fail than connections were touched.
Exit status: 0 if so; 1 else, with a line for each thing that is wrong.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "bench" / "engine"))

from attended import Attended, Loaded
from conversing import Bash, Conversing, Sqlite
from corpus_page import table
from fixing import Fixer
from healthy import wait_until_they_answer
from observing import Observed, lasting_locks, locks
from processes import family, lives, process
from quiet_clients import Postgres, Quiet
from servers import KEEP, Server, servers
from services import HERE, Service, as_user, postgres_programs, prepare_nothing
from variants import Variant, public_copy

FORCED = {"MEMGUARD_FORCED_VERDICTS": "leak"}
# Between two fixes, and between two looks at what /proc shows.
PAUSE_S, LOOK_S = 0.2, 3
MIN_AGE = "1s"
# Without load nobody may take so much of a core.
IDLE_SHARE = 0.3


def asyncio_server(_: Path, port: int) -> list[str]:
    """uvicorn as FastAPI's, but on Python's own loop and parser."""
    options = ["--loop", "asyncio", "--http", "h11", "--no-access-log", "--log-level", "warning"]
    return ["/usr/bin/python3", "-m", "uvicorn", "fastapi_app:app", "--app-dir", str(HERE), "--port", str(port), *options, *KEEP]


def all_servers() -> list[Server]:
    """The healthy ones, with uvicorn on both loops."""
    fastapi = next(one for one in servers() if one.name == "fastapi")
    service = Service("asyncio", "", prepare_nothing, asyncio_server, fastapi.service.drive)
    return [*servers(), replace(fastapi, service=service)]


@dataclass
class Part:
    """One program with all that watches it."""

    program: Attended
    observed: Observed
    quiet: Quiet | None = None

    @property
    def failed(self) -> int:
        """Requests of either sort of client."""
        return self.program.counts[1] + (self.quiet.counts[1] if self.quiet else 0)

    def row(self) -> list[str]:
        """Its line in the table."""
        fixed = self.program.fixed
        outcomes = ", ".join(f"{name} {count}" for name, count in sorted(fixed.outcomes.items(), key=str))
        done = self.program.counts[0] + (self.quiet.counts[0] if self.quiet else 0)
        figures = [done, self.failed, len(self.observed.lasting), fixed.runs, fixed.considered, len(fixed.touched)]
        return [self.program.name, *map(str, figures), f"{self.observed.most:.2f}", outcomes]

    def wrongs(self) -> list[str]:
        """What must not be."""
        lines, touched = list(self.observed.wrong), len(self.program.fixed.touched)
        if self.failed > touched:
            lines.append(f"failed {self.failed} requests, and {touched} objects were touched; see {self.program.log}")
        if self.program.fixed.considered == 0 or self.program.counts[0] == 0:
            lines.append("was not fixed, or not asked")
        if isinstance(self.program, Conversing) and self.program.trouble:
            lines.append(self.program.trouble)
        return [f"{self.program.name} {line}" for line in lines]


def part_of(program: Attended) -> Part:
    """With seldom clients, where connections are kept."""
    quiet = None
    if isinstance(program, Loaded) and program.server.client.keep:
        client = Postgres() if program.name == "postgres" else copy(program.server.client)
        # A second client of the same name would end the first one's connection.
        client.opened = 500_000
        quiet = Quiet(client, program.port)
    return Part(program, Observed(process(program.process.pid)), quiet)


def still_files(folder: Path) -> dict[str, bytes]:
    """Configuration and pages, which nobody writes to."""
    found = [path for path in folder.rglob("*") if path.suffix in (".conf", ".html") or path.name == "rows"]
    return {str(path): path.read_bytes() for path in found if path.is_file()}


def table_sum(part: Part) -> str:
    """Of every row of pgbench's largest table, which its selects only read."""
    query = "select count(*), sum(hashtext(a::text)::bigint) from pgbench_accounts a"
    command = [str(postgres_programs() / "psql"), "-h", "127.0.0.1", "-p", str(part.program.port), "-U", "postgres", "-Atc", query]
    return subprocess.run(as_user("postgres", command), capture_output=True, text=True, check=True).stdout


class Run:
    """All parts, from start to judgement."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder, self.parts, self.wrong = options, folder, [], []
        self.under = Variant("memguard", {"LD_PRELOAD": public_copy(ROOT / "target/release/libmemguard.so", folder)})
        memguard = public_copy(ROOT / "target/forced/release/memguard", folder)
        self.fixer = Fixer(Path(memguard), folder / "state", more=FORCED, nice=options.nice)
        self.over = threading.Event()
        self.held = set()

    def start(self) -> None:
        """All programs, none of them driven yet."""
        chosen = [one for one in all_servers() if not self.options.only or one.name in self.options.only]
        for server in chosen:
            self.parts.append(part_of(Loaded(server, self.folder, self.under)))
        for name, kind in (("bash", Bash), ("sqlite", Sqlite)):
            if not self.options.only or name in self.options.only:
                (self.folder / name).mkdir()
                self.parts.append(part_of(kind(self.folder / name, self.under)))
        wait_until_they_answer([part.program for part in self.parts if isinstance(part.program, Loaded) and part.program.name != "postgres"])
        time.sleep(2)

    def drive(self) -> None:
        """Starts all clients."""
        for part in self.parts:
            if isinstance(part.program, Conversing):
                part.program.thread.start()
            else:
                part.program.drive(self.options.minutes * 60)
            if part.quiet:
                part.quiet.process.start()

    def act(self) -> None:
        """Fixes one process after the other, again and again, and looks meanwhile."""
        end_at = time.monotonic() + self.options.minutes * 60
        looking = threading.Thread(target=self.look_on, daemon=True)
        looking.start()
        while time.monotonic() < end_at:
            for part in self.parts:
                part.program.rounds += 1
                for one in family(part.observed.first):
                    if time.monotonic() < end_at and lives(one):
                        part.program.fix_one(self.fixer, one, ["--min-age", MIN_AGE])
                        time.sleep(PAUSE_S)
        self.over.set()
        looking.join()

    def look_on(self) -> None:
        """Until the fixes are over."""
        while not self.over.wait(LOOK_S):
            for part in self.parts:
                part.observed.look()
            self.look_at_locks()

    def look_at_locks(self) -> None:
        """Says once what is lost."""
        lost = self.held - locks(self.folder)
        self.wrong += [f"a lock was lost: {' '.join(lock)}" for lock in sorted(lost)]
        self.held -= lost

    def run(self) -> None:
        """The whole of it."""
        self.start()
        before = still_files(self.folder)
        postgres = next((part for part in self.parts if part.program.name == "postgres"), None)
        sum_before = table_sum(postgres) if postgres else ""
        for part in self.parts:
            # A backend lives as long as its client, a worker for vacuum as it pleases.
            part.observed.begin("autovacuum worker")
        self.drive()
        self.held = lasting_locks(self.folder)
        self.lasting = len(self.held)
        self.act()
        self.quiesce()
        if still_files(self.folder) != before:
            self.wrong.append("a file's content differs")
        if postgres and table_sum(postgres) != sum_before:
            self.wrong.append("a table of PostgreSQL differs")
        for part in self.parts:
            if isinstance(part.program, Conversing):
                part.program.end()

    def quiesce(self) -> None:
        """Ends the load; nobody may be busy with nothing."""
        for part in self.parts:
            if part.quiet:
                part.quiet.stop()
            if isinstance(part.program, Conversing):
                part.program.over.set()
            else:
                part.program.driver.join(60)
        time.sleep(3)
        for part in self.parts:
            part.observed.spent, part.observed.busy = {}, {}
        for _ in range(2):
            for part in self.parts:
                part.observed.look(IDLE_SHARE, 1)
            time.sleep(5)
        for part in self.parts:
            part.observed.look(IDLE_SHARE, 1)
        self.look_at_locks()

    def stop(self) -> None:
        """Ends everything."""
        for part in self.parts:
            part.program.stop()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/healthy --fix --forced", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5, metavar="N", help="how long (5)")
    parser.add_argument("--nice", type=int, default=15, metavar="N", help="how much the fixes yield to the programs (15)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this program only; may be repeated")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table there too")
    for meant in ("--fix", "--forced"):
        parser.add_argument(meant, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """The run and its table."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="memguard-forced-"))
    folder.chmod(0o755)
    run = Run(options, folder)
    try:
        run.run()
    finally:
        run.stop()
    head = ["program", "requests", "failed", "processes", "runs of fix", "considered", "touched", "most of a core", "outcomes"]
    text = table(head, [part.row() for part in run.parts])
    print(text)
    if options.output:
        options.output.write_text(text)
    wrong = [*run.wrong, *(line for part in run.parts for line in part.wrongs())]
    if not run.lasting and not options.only:
        wrong.append("no lock was there to be lost")
    for line in wrong:
        print(f"healthy: {line}", file=sys.stderr)
    if not wrong:
        shutil.rmtree(folder, ignore_errors=True)
    touched = sum(len(part.program.fixed.touched) for part in run.parts)
    print(f"{len(run.parts)} programs, {options.minutes:g} minutes, {touched} touched, {run.lasting} locks watched, {len(wrong)} things wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
