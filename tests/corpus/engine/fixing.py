"""Has memguard fix a process, and sorts what came of it."""

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

# Nothing was touched: a gate was shut, or the object had gone by itself.
UNTOUCHED = {None, "refused", "vanished"}
# No object and no descriptor either; counted apart.
MEMORY = "given-back"


@dataclass
class Fixed:
    """What several runs of `memguard fix` did."""

    runs: int = 0
    considered: int = 0
    given_back: int = 0
    outcomes: Counter = field(default_factory=Counter)
    refused_by: Counter = field(default_factory=Counter)
    touched: list[str] = field(default_factory=list)

    def add(self, pid: int, plan: dict) -> None:
        """What one run says."""
        self.runs += 1
        for item in plan["items"]:
            outcome = item["outcome"]
            self.considered += 1
            self.outcomes[outcome] += 1
            if outcome == MEMORY:
                self.given_back += 1
            elif outcome in UNTOUCHED:
                self.refused_by[gate_that_shut(item)] += 1
            else:
                self.touched.append(f"pid {pid}: {item['kind']} {item['what']}: {outcome} {item.get('detail') or ''}")


def gate_that_shut(item: dict) -> str:
    """The name of the first one, or that it was gone."""
    return next((gate["name"] for gate in item["gates"] if not gate["open"]), "gone by itself")


class Fixer:
    """A memguard with a state folder of its own."""

    def __init__(
        self,
        memguard: Path,
        state: Path | None = None,
        segments: Path | None = None,
        more: dict[str, str] | None = None,
        nice: int = 0,
        before: list[str] | None = None,
    ) -> None:
        self.memguard, self.before = memguard, [*(before or []), *(["nice", "-n", str(nice)] if nice else [])]
        self.environment = {**os.environ, **(more or {})}
        if state:
            self.environment["MEMGUARD_STATE"] = str(state)
        if segments:
            self.environment["MEMGUARD_DIR"] = str(segments)

    def run(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess:
        """Any verb."""
        command = [*self.before, str(self.memguard), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=timeout)

    def json(self, *arguments: str) -> dict | None:
        """What a verb says as JSON; none if the process cannot be asked (any more)."""
        try:
            return json.loads(self.run(*arguments, "--format", "json").stdout)
        except json.JSONDecodeError:
            return None

    def fix(self, pid: int, *arguments: str) -> dict | None:
        """Acts without a question."""
        return self.json("fix", str(pid), "--yes", *arguments)

    def knows(self, verb: str, word: str) -> bool:
        """Whether the help of a verb has a word: builds differ in what they can do."""
        return word in self.run(verb, "--help").stdout
