"""Runs one program under the library and asks for reports while it runs."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from asking import Finding, findings
from building import Build
from manifest import Case

# What a preloaded program must be spared: the caller's settings.
KEPT = ("PATH", "LANG")
# A busy machine delays reports: programs run on until theirs is taken.
SPARE_SECONDS = 60


@dataclass
class Trial:
    """What was seen of one program."""

    case: Case
    seconds: float
    asked: list[tuple[float, list[Finding]]] = field(default_factory=list)
    held: dict[str, int] = field(default_factory=dict)
    trouble: str = ""
    log: Path | None = None
    # Whether memguard knew the program from a run before.
    learned: bool = False

    @property
    def last(self) -> list[Finding]:
        """The findings of the last report."""
        return self.asked[-1][1] if self.asked else []


class Runner:
    """Starts programs, `every` how many seconds a report is asked for."""

    def __init__(self, build: Build, memguard: Path, library: Path, every: float) -> None:
        self.build, self.memguard, self.library, self.every = build, memguard, library, every
        self.logs = build.folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)

    def run(self, case: Case, seconds: float, learned: bool = False) -> Trial:
        """The program from its start to its end, unknown to memguard or known from the run before."""
        trial = Trial(case, seconds, log=self.logs / f"{name_of(case, learned)}.out", learned=learned)
        if not learned:
            shutil.rmtree(self.state(case), ignore_errors=True)
        scratch = self.build.folder / "tmp" / case.name
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        command = [*self.build.command(case), str(seconds + SPARE_SECONDS)]
        process = start(command, self.environment(), scratch, trial.log)
        try:
            self.watch(trial, process)
        finally:
            end(process)
            shutil.rmtree(scratch, ignore_errors=True)
        return trial

    def keep(self, trial: Trial) -> None:
        """All that was reported, as JSON beside the log, to be looked into."""
        asked = [{"at_s": round(at, 1), "findings": [asdict(one) for one in found]} for at, found in trial.asked]
        text = json.dumps({"held": trial.held, "trouble": trial.trouble, "asked": asked}, indent=1)
        (self.logs / f"{name_of(trial.case, trial.learned)}.json").write_text(text)

    def state(self, case: Case) -> Path:
        """What memguard learns of a program, and of no other."""
        return self.build.folder / "state" / case.name

    def environment(self) -> dict[str, str]:
        """The library and hardly anything else."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return kept | {"HOME": "/tmp", "LD_PRELOAD": str(self.library)} | self.build.environment()

    def watch(self, trial: Trial, process: subprocess.Popen) -> None:
        """Asks again and again; the last time together with the truth log."""
        if not wait_until_ready(trial.log, process):
            trial.trouble = f"did not start; its output is in {trial.log}"
            return
        begun, number, due = time.monotonic(), 0, 0.0
        while due < trial.seconds and process.poll() is None:
            # What a busy machine made late is left out, not made up for.
            number = max(number + 1, int((time.monotonic() - begun) / self.every))
            due = min(number * self.every, trial.seconds)
            time.sleep(max(0.0, begun + due - time.monotonic()))
            if due >= trial.seconds and process.poll() is None:
                process.send_signal(signal.SIGUSR1)
            self.ask(trial, process, begun)
        trial.held = truth(trial.log)
        if process.poll() is not None:
            trial.trouble = f"ended by itself with status {process.returncode}; its output is in {trial.log}"
        elif not trial.asked:
            trial.trouble = "no report could be taken of it"

    def ask(self, trial: Trial, process: subprocess.Popen, begun: float) -> None:
        """One report, with the moment it was asked for."""
        at = time.monotonic() - begun
        if (found := findings(self.memguard, trial.case, process.pid, self.state(trial.case))) is not None:
            trial.asked.append((at, found))


def name_of(case: Case, learned: bool) -> str:
    """What the files of a trial are called."""
    return f"{case.name}.learned" if learned else case.name


def start(command: list[str], environment: dict[str, str], scratch: Path, log: Path) -> subprocess.Popen:
    """A program in a folder and a session of its own; what it says goes into the log."""
    with open(log, "wb") as said:
        return subprocess.Popen(
            command,
            env=environment | {"TMPDIR": str(scratch)},
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            preexec_fn=more_descriptors,
        )


def more_descriptors() -> None:
    """A leak must not be ended by a low limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, most), most))


def wait_until_ready(log: Path, process: subprocess.Popen) -> bool:
    """Whether `ready` came within half a minute."""
    end_at = time.monotonic() + 30
    while time.monotonic() < end_at and process.poll() is None:
        if "ready\n" in log.read_text(errors="replace"):
            return True
        time.sleep(0.05)
    return False


def truth(log: Path) -> dict[str, int]:
    """The last `held` line of each function, once there is one."""
    end_at = time.monotonic() + 5
    while time.monotonic() < end_at and "held " not in log.read_text(errors="replace"):
        time.sleep(0.05)
    rows = [line.split() for line in log.read_text(errors="replace").splitlines() if line.startswith("held ")]
    return {row[1]: int(row[2]) for row in rows if len(row) == 3}


def end(process: subprocess.Popen) -> None:
    """Ends the program with its peers: they share a session of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait(15)
