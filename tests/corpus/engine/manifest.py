"""The manifest: every program and what is expected of a report on it."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

CORPUS = Path(__file__).resolve().parent.parent

# From the mildest to the worst. `none`: nothing of it in the report.
TIERS = ["none", "held", "early", "suspect", "growing", "leak"]
ENDINGS = {"c": "c", "c++": "cpp", "rust": "rs", "python": "py", "node": "js"}


@dataclass(frozen=True)
class Case:
    """A program of the manifest; the fields are described there."""

    group: str
    name: str
    language: str
    kind: str
    function: str
    written_blind: bool
    tier: str = ""
    worst: str = ""
    also: list[str] = field(default_factory=list)
    minimum_seconds: int = 0
    starts_s: int = 0
    quick: bool = False
    bounded: bool = False
    beside: str = ""
    min_age: str = "5s"
    beyond: str = ""
    note: str = ""
    published: str = ""
    pip: list[str] = field(default_factory=list)
    npm: list[str] = field(default_factory=list)

    @property
    def leaky(self) -> bool:
        """Whether it leaks."""
        return self.group == "leaky"

    @property
    def native(self) -> bool:
        """Whether the program's functions are on its native stacks."""
        return self.language in ("c", "c++", "rust")

    @property
    def source(self) -> Path:
        """Its file."""
        return CORPUS / self.group / f"{self.name}.{ENDINGS[self.language]}"

    @property
    def right_tiers(self) -> list[str]:
        """The verdicts that are right for a leaky program at its end."""
        return [self.tier, *self.also]


def load() -> list[Case]:
    """All programs, checked for what a typing error would spoil."""
    rows = tomllib.loads((CORPUS / "manifest.toml").read_text())["program"]
    cases = [Case(**row) for row in rows]
    for case in cases:
        tiers = case.right_tiers if case.leaky else [case.worst]
        if not case.source.is_file() or not set(tiers) <= set(TIERS):
            raise SystemExit(f"corpus: manifest.toml is wrong about {case.name}: correct its file name or its verdict.")
    return cases


def rank(tier: str) -> int:
    """How bad a verdict is; one that is not known counts as mild."""
    return TIERS.index(tier) if tier in TIERS else 1
