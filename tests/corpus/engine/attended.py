"""What runs under the library for a while: asked, fixed, and in the end judged."""

import multiprocessing
import os
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from asking import report
from building import Build
from fixing import UNTOUCHED, Fixed, Fixer
from manifest import Case
from processes import Process, family, lives, process
from running import BARE
from servers import Server
from serving import command_under, free_port
from trial import start
from variants import Variant

DEFAULT, SHORT = "default", "short"


@dataclass
class Seen:
    """What was reported of one program."""

    reports: int = 0
    processes: set[Process] = field(default_factory=set)
    verdicts: dict[str, Counter] = field(default_factory=lambda: {DEFAULT: Counter(), SHORT: Counter()})
    leaks: dict[str, str] = field(default_factory=dict)


class Attended:
    """A program that runs, with all its processes; `name`, `process` and `log` are set by who starts it."""

    name: str
    process: subprocess.Popen
    log: Path
    # The short age that somebody would ask for who knows the program.
    min_age = "5s"

    def __init__(self) -> None:
        self.seen, self.fixed, self.rounds = Seen(), Fixed(), 0

    def ages(self) -> dict[str, list[str]]:
        """The options of both ways of asking."""
        return {DEFAULT: [], SHORT: ["--min-age", self.min_age]}

    def look(self, memguard: Path) -> None:
        """Reports on all its processes, by the built-in ages and by a short one."""
        for one in self.family():
            for age, options in self.ages().items():
                self.note(one, age, report(memguard, one.pid, options))

    def family(self) -> list[Process]:
        """Its processes now."""
        first = process(self.process.pid)
        return family(first) if first else []

    def note(self, one: Process, age: str, document: dict | None) -> None:
        """What one report says; a process that has just ended has none, and its number may be another's."""
        if document is None or not document["process"]["instrumented"] or not lives(one):
            return
        self.seen.reports += 1
        self.seen.processes.add(one)
        for row in document["findings"]:
            self.seen.verdicts[age][row["verdict"]] += 1
            if row["verdict"] == "leak":
                place = next((frame["function"] for frame in row["stack"] if frame["function"]), "an unknown place")
                said = f"{row['kind']} of {place}: {row['summary']} {' '.join(row['evidence'])}"
                self.seen.leaks.setdefault(row["id"], f"pid {one.pid}, age {age}: {said}")

    def fix(self, fixer: Fixer, age: str, more: list[str]) -> None:
        """Has all its processes fixed."""
        for one in self.family():
            self.fix_one(fixer, one, [*self.ages()[age], *more])

    def fix_one(self, fixer: Fixer, one: Process, options: list[str]) -> None:
        """Has one process fixed, if it is still the same."""
        plan = fixer.fix(one.pid, "--close-lost", *options) if lives(one) else None
        # A look at another that has its number by now is left out; an action is not.
        if plan is not None and (lives(one) or any(item["outcome"] not in UNTOUCHED for item in plan["items"])):
            self.fixed.add(one.pid, plan)

    def failures(self) -> list[str]:
        """What must not be."""
        lines = [f"called a leak: {said}" for said in self.seen.leaks.values()]
        lines += [f"was touched: {said}" for said in self.fixed.touched]
        if self.process.poll() is not None:
            lines.append(f"ended with status {self.process.returncode}; its output is in {self.log}")
        if self.seen.reports == 0:
            lines.append("was never reported on: the library is not in it")
        return lines

    def stop(self) -> None:
        """Ends it with all that it started in its session."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.process.wait(10)


class Loaded(Attended):
    """A server under the library, with the process that asks it."""

    def __init__(self, server: Server, folder: Path, under: Variant) -> None:
        super().__init__()
        self.server, self.name, self.port = server, server.name, free_port()
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

    def failures(self) -> list[str]:
        """Beside the general ones: requests that failed."""
        done, failed = self.counts
        lines = super().failures()
        # Beside fixes not one may fail; else a machine that stalls is forgiven.
        if done == 0 or failed > (0 if self.fixed.runs else done / 100):
            lines.append(f"answered {done} requests and failed {failed}; its output is in {self.log}")
        return lines

    def stop(self) -> None:
        """Ends the server and what it left, then the clients."""
        # PostgreSQL's quick way out; the others know TERM.
        self.process.send_signal(signal.SIGINT if self.name == "postgres" else signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        super().stop()
        if self.driver is not None:
            self.driver.kill()
            self.driver.join(10)


class Alone(Attended):
    """A healthy program of the corpus, which keeps itself busy."""

    def __init__(self, case: Case, build: Build, folder: Path, under: Variant, seconds: float) -> None:
        super().__init__()
        self.name, self.min_age = case.name, case.min_age
        scratch = folder / "programs" / case.name
        scratch.mkdir(parents=True)
        self.log = folder / f"{case.name}.log"
        environment = under.full_environment() | build.environment()
        self.process = start([*build.command(case), str(int(seconds))], environment, scratch, self.log)

    def stop(self) -> None:
        """And what it wrote."""
        super().stop()
        shutil.rmtree(self.log.parent / "programs" / self.name, ignore_errors=True)
