"""What a workload runs under: nothing, a preloaded library, a rival's profiler."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
HEAPTRACK = Path("/usr/lib/heaptrack/libheaptrack_preload.so")


@dataclass(frozen=True)
class Variant:
    """A name and the variables it adds; `cost` is roughly how much slower it is."""

    name: str
    environment: dict[str, str] = field(default_factory=dict, hash=False)
    cost: int = 1

    @property
    def preload(self) -> str:
        """The preloaded library, or nothing."""
        return self.environment.get("LD_PRELOAD", "")

    def full_environment(self) -> dict[str, str]:
        """A small, fixed environment: the caller's own must not change a result."""
        fixed = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "PERL_HASH_SEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return fixed | self.environment


class Variants:
    """All of them, with the libraries copied where every user may read them.

    The copies also keep a build that runs meanwhile out of the measurement.
    """

    def __init__(self, folder: Path, library: Path, empty: Path) -> None:
        ours = public_copy(library, folder)
        self.bare = Variant("bare")
        self.empty = Variant("empty", {"LD_PRELOAD": public_copy(empty, folder)})
        self.memguard = Variant("memguard", {"LD_PRELOAD": ours})
        self.by_count = Variant("memguard 0.01", {"LD_PRELOAD": ours, "MEMGUARD_LIGHT_SAMPLE_RATE": "0.01"})
        self.main = [self.bare, self.empty, self.memguard]
        self.rivals = [self.bare, *rivals()]


def rivals() -> list[Variant]:
    """Other always-on heap profilers beside their own allocators, and heaptrack."""
    jemalloc, tcmalloc = str(LIBRARIES / "libjemalloc.so.2"), str(LIBRARIES / "libtcmalloc.so.4")
    profiled = {"LD_PRELOAD": jemalloc, "MALLOC_CONF": "prof:true,lg_prof_sample:19"}
    sampled = {"LD_PRELOAD": tcmalloc, "TCMALLOC_SAMPLE_PARAMETER": "524288"}
    traced = {"LD_PRELOAD": str(HEAPTRACK), "DUMP_HEAPTRACK_OUTPUT": "/dev/null"}
    return [
        Variant("jemalloc", {"LD_PRELOAD": jemalloc}),
        Variant("jemalloc profiler", profiled),
        Variant("tcmalloc", {"LD_PRELOAD": tcmalloc}),
        Variant("tcmalloc sampling", sampled),
        Variant("heaptrack", traced, cost=10),
    ]


# (variant, what it is divided by): every ratio that is printed.
COMPARISONS = [
    ("memguard", "bare"),
    ("empty", "bare"),
    ("memguard", "empty"),
    ("memguard 0.01", "bare"),
    ("jemalloc profiler", "jemalloc"),
    ("tcmalloc sampling", "tcmalloc"),
    ("heaptrack", "bare"),
]


def public_copy(library: Path, folder: Path) -> str:
    """Copies a library into `folder`, readable by the servers' users."""
    target = folder / library.name
    shutil.copy(library, target)
    os.chmod(target, 0o755)
    return str(target)
