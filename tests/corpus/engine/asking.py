"""Asks memguard for a report and keeps of it what is to be judged."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from manifest import Case


@dataclass(frozen=True)
class Finding:
    """A site of a report. `function` is the innermost of the program's own; empty: none."""

    kind: str
    verdict: str
    count: int
    function: str
    innermost: str
    evidence: str

    @property
    def where(self) -> str:
        """The best name there is for it."""
        return self.function or self.innermost or "an unknown place"


def plain(function: str | None) -> str:
    """A function's bare name: no arguments, no template's, no path, no type of result."""
    name = function or ""
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    words = name.partition("(")[0].split()
    return words[-1].split("::")[-1] if words else ""


def own_function(case: Case, stack: list[dict]) -> str:
    """The innermost function in the program's own file.

    In Python and Node any native frame counts: the script's are not on the stack.
    """
    if not case.native:
        named = [frame["function"] or frame["module"] for frame in stack if frame["function"] or frame["module"]]
        return named[0] if named else ""
    for frame in stack:
        if frame["file"] and Path(frame["file"]).name == case.source.name:
            return plain(frame["function"])
    return ""


def finding_of(case: Case, row: dict) -> Finding:
    """One finding of the JSON."""
    innermost = next((frame["function"] for frame in row["stack"] if frame["function"]), "")
    evidence = " ".join([row["summary"], *row["evidence"]])
    return Finding(row["kind"], row["verdict"], row["count"], own_function(case, row["stack"]), innermost, evidence)


def report(memguard: Path, pid: int, options: list[str], state: Path | None = None) -> dict | None:
    """The report as JSON; none if the process cannot be asked (any more). `state`: what is known is kept there."""
    command = [str(memguard), "report", str(pid), *options, "--format", "json"]
    environment = os.environ | {"MEMGUARD_STATE": str(state)} if state else None
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return None


def findings(memguard: Path, case: Case, pid: int, state: Path) -> list[Finding] | None:
    """What is reported of a program now."""
    document = report(memguard, pid, ["--min-age", case.min_age], state)
    return document and [finding_of(case, row) for row in document["findings"]]
