"""Builds the programs and installs the few packages that published leaks need."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from manifest import Case

COMPILERS = {
    "c": ["gcc", "-g", "-O1", "-Wall", "-Wextra", "-pthread"],
    "c++": ["g++", "-std=c++17", "-g", "-O1", "-Wall", "-Wextra", "-pthread"],
    "rust": ["rustc", "--edition", "2024", "-g", "-C", "opt-level=1"],
}
PYTHON = "/usr/bin/python3"


class Build:
    """Programs and packages under target/corpus."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python_packages, self.node_packages = folder / "python", folder / "node"

    def command(self, case: Case) -> list[str]:
        """How the built program is run; the seconds follow."""
        if case.language == "python":
            return [PYTHON, "-B", str(case.source)]
        if case.language == "node":
            return ["node", str(case.source)]
        return [str(self.program(case))]

    def program(self, case: Case) -> Path:
        """Where a compiled program is; named as its source so that reports say which it was."""
        return self.folder / "bin" / case.name

    def environment(self) -> dict[str, str]:
        """Where Python and Node find the packages."""
        return {"PYTHONPATH": str(self.python_packages), "NODE_PATH": str(self.node_packages / "node_modules")}

    def compile(self, cases: list[Case]) -> None:
        """What is older than its source or than what all share."""
        (self.folder / "bin").mkdir(parents=True, exist_ok=True)
        stale = [case for case in cases if case.native and self.is_stale(case)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(self.compile_one, stale))

    def is_stale(self, case: Case) -> bool:
        """Whether a source is newer than the program."""
        shared = (case.source.parent.parent / "lib").glob("*.[hr]*")
        newest = max(path.stat().st_mtime for path in [case.source, *shared])
        program = self.program(case)
        return not program.exists() or program.stat().st_mtime < newest

    def compile_one(self, case: Case) -> None:
        """One program."""
        command = [*COMPILERS[case.language], "-o", str(self.program(case)), str(case.source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"corpus: {case.source.name} does not compile; correct it:\n{done.stderr}")

    def install(self, cases: list[Case]) -> dict[str, str]:
        """The packages that are missing. Name of a program and why it cannot run."""
        missing = {}
        for case in cases:
            try:
                self.install_for(case)
            except (subprocess.CalledProcessError, FileNotFoundError) as error:
                missing[case.name] = f"its packages could not be installed: {' '.join(case.pip + case.npm)} ({error})"
        return missing

    def install_for(self, case: Case) -> None:
        """What one program needs, by the registries' ordinary clients."""
        quiet = {"check": True, "capture_output": True, "timeout": 300}
        for package in case.pip:
            if not self.mark(package).exists():
                # The oldest releases have no wheel, and must not pull new ones over one another.
                command = [PYTHON, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(self.python_packages)]
                subprocess.run([*command, package], **quiet)
                self.mark(package).touch()
        for package in case.npm:
            if not self.mark(package).exists():
                self.node_packages.mkdir(parents=True, exist_ok=True)
                options = ["--prefix", str(self.node_packages), "--no-audit", "--no-fund", "--ignore-scripts"]
                subprocess.run(["npm", "install", *options, package], **quiet)
                self.mark(package).touch()

    def mark(self, package: str) -> Path:
        """A file that says that a package is there."""
        marks = self.folder / "installed"
        marks.mkdir(parents=True, exist_ok=True)
        return marks / package.replace("/", "-")
