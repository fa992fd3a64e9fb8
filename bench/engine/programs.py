"""Programs that spend much of their time in malloc: CPU seconds of whole runs.

The list was written down before the first measurement and none was dropped.
Python stands in it twice: as it comes, with its own small-block allocator
above malloc, and with PYTHONMALLOC=malloc, where every object is malloc's.
"""

import random
from pathlib import Path

from cases import Case, one_by_one
from running import cpu_seconds
from variants import Variant, Variants

GROUP = "programs"
HERE = Path(__file__).resolve().parent.parent / "programs"
# The same work in every run: these two order their tables anew in each process.
SEEDS = {"PYTHONHASHSEED": "0", "PERL_HASH_SEED": "0", "PERL_PERTURB_KEYS": "0"}


def cases(built: Path, scratch: Path, variants: Variants, scale: float) -> list[Case]:
    """Each program as a case, and again beside the other profilers."""

    def count(full: int) -> str:
        return str(max(int(full * scale), 1))

    words, inserts = scratch / "words.txt", scratch / "inserts.sql"
    write_words(words, int(count(700_000)))
    write_inserts(inserts, int(count(120_000)))
    json_command = ["/usr/bin/python3", str(HERE / "json_work.py"), count(30)]
    commands = {
        "g++ on <regex>": (["g++", "-std=c++17", "-c", str(HERE / "regex_heavy.cpp"), "-o", "/dev/null"], None, {}),
        "python json": (json_command, None, {}),
        "python json, PYTHONMALLOC=malloc": (json_command, None, {"PYTHONMALLOC": "malloc"}),
        "sqlite3 bulk insert": (["sqlite3", ":memory:"], inserts, {}),
        "sort": (["sort", "--parallel=1", str(words)], None, {}),
        "perl hash and strings": (["perl", str(HERE / "churn.pl"), count(450_000)], None, {}),
        "std::map churn": ([str(built / "map_churn"), count(3_000_000)], None, {}),
    }
    ours = [case(name, *command, variants.main + [variants.by_count]) for name, command in commands.items()]
    rivals = [Case(one.name, "rivals", one.unit, variants.rivals, one.measure, every=2, most=6) for one in ours]
    return ours + rivals


def case(name: str, command: list[str], stdin: Path | None, extra: dict[str, str], under: list[Variant]) -> Case:
    """One program, fed from a file or from nothing."""

    def measure(variant: Variant) -> float:
        environment = variant.environment | SEEDS | extra
        return cpu_seconds(command, Variant(variant.name, environment), stdin)

    return Case(name, GROUP, "s", under, one_by_one(measure))


def write_words(path: Path, lines: int) -> None:
    """Random lines for sort, the same in every run."""
    source = random.Random(1)
    with open(path, "w", encoding="ascii") as out:
        for _ in range(lines):
            out.write(f"{source.getrandbits(60):x} {source.getrandbits(30)}\n")


def write_inserts(path: Path, rows: int) -> None:
    """One INSERT a line, in one transaction, with an index to keep up."""
    source = random.Random(2)
    with open(path, "w", encoding="ascii") as out:
        out.write("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, note TEXT);\nCREATE INDEX i ON t(name);\nBEGIN;\n")
        for row in range(rows):
            out.write(f"INSERT INTO t VALUES({row},'{source.getrandbits(50):x}','{'n' * source.randrange(200)}');\n")
        out.write("COMMIT;\nSELECT count(*) FROM t;\n")
