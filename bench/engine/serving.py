"""CPU per request: fresh servers of all variants side by side, driven in turn.

A round starts one server for each variant, warms each up, then drives them in
slices well under a second, so that what the machine does meanwhile meets them
all. Every round has new processes: where a process's memory happens to lie
shifts its speed by more than what is to be seen.
"""

import signal
import socket
import subprocess
import time
from pathlib import Path

from cases import Case, Values
from cgroup import ControlGroup, cpu_interfaces
from running import BARE, SERVED, Failed, pinned
from services import FEW, SERVICES, Service, as_user
from variants import Variant, Variants


class Running:
    """One server under one variant, in a control group of its own."""

    def __init__(self, service: Service, variant: Variant, folder: Path) -> None:
        self.service, self.port = service, free_port()
        self.group = ControlGroup(f"{folder.name}", cpu_interfaces())
        self.requests, self.cpu_ns = 0, 0
        command = self.group.enter_command(command_under(service, variant, folder, self.port))
        self.log = open(folder / "output.log", "ab")
        self.process = subprocess.Popen(
            command,
            env=BARE.full_environment(),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=pinned(SERVED),
        )

    def wait_until_it_listens(self) -> None:
        """Connects until somebody answers."""
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise Failed(f"{self.service.name} did not start; its output is in {self.log.name}")

    def drive(self, seconds: float, counted: bool = True) -> None:
        """One slice of requests, added to the sums unless it is the warm-up."""
        before = self.group.cpu_ns()
        requests = self.service.drive(self.port, seconds)
        if counted:
            self.requests += requests
            self.cpu_ns += self.group.cpu_ns() - before

    def stop(self) -> None:
        """Asks the server to end; the group ends what does not."""
        self.process.send_signal(signal.SIGINT if self.service.name == "postgres" else signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        self.group.remove()
        self.process.wait(10)
        self.log.close()


def command_under(service: Service, variant: Variant, folder: Path, port: int) -> list[str]:
    """The server's command, with the variant's variables for nothing that runs before it."""
    variables = [f"{name}={value}" for name, value in variant.environment.items()]
    return as_user(service.user, ["env", *variables, *service.command(folder, port)])


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Serving:
    """One service: prepared once for each variant, measured in rounds."""

    def __init__(self, service: Service, scratch: Path, seconds: float) -> None:
        self.service, self.scratch, self.seconds = service, scratch, seconds

    def folder(self, variant: Variant) -> Path:
        """The variant's own data, a copy of what was prepared once."""
        stem = self.service.name.split()[0]
        template, folder = self.scratch / stem, self.scratch / f"{stem}-{variant.name.replace(' ', '-')}"
        if not template.exists():
            template.mkdir()
            self.service.prepare(template)
        if not folder.exists():
            subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
        return folder

    def measure(self, order: list[Variant]) -> Values:
        """Nanoseconds of CPU per request for each variant."""
        running: dict[str, Running] = {}
        try:
            for variant in order:
                running[variant.name] = Running(self.service, variant, self.folder(variant))
            for one in running.values():
                one.wait_until_it_listens()
            self.drive_in_turn(list(running.values()))
            return {name: one.cpu_ns / 1000 / one.requests for name, one in running.items()}
        finally:
            for one in running.values():
                one.stop()

    def drive_in_turn(self, running: list[Running]) -> None:
        """A short warm-up, then slices there and back."""
        for one in running:
            one.drive(self.seconds, counted=False)
        slices = self.service.slices
        for number in range(slices):
            for one in running if number % 2 == 0 else reversed(running):
                one.drive(FEW * self.seconds / slices)


def cases(scratch: Path, variants: Variants, seconds: float) -> list[Case]:
    """Each server as a case, and again beside the other profilers."""
    found = []
    for service in SERVICES:
        serving = Serving(service, scratch, seconds)
        title = f"{service.name}: {service.driver}"
        found.append(Case(title, "servers", "us", variants.main + [variants.by_count], serving.measure))
        rivals = [variant for variant in variants.rivals if variant.name not in ("bare", "heaptrack")]
        found.append(Case(title, "rivals", "us", rivals, serving.measure, every=2, most=6))
    return found


