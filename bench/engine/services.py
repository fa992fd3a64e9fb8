"""The six servers: how each is prepared, started and driven.

Every driver returns the number of completed requests and fails if one failed.
"""

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from running import BARE, DRIVING, Failed, output_of

HERE = Path(__file__).resolve().parent.parent / "servers"
POSTGRES = Path("/usr/lib/postgresql")
# Slices that a round's requests come in. Many meet more alike what the machine does meanwhile;
# few suit a server that starts processes for each (pgbench) or collects garbage after it (node).
FEW, MANY = 4, 12


@dataclass(frozen=True)
class Service:
    """`prepare` fills a folder once, `command` starts a server in it on a port."""

    name: str
    driver: str
    prepare: Callable[[Path], None]
    command: Callable[[Path, int], list[str]]
    drive: Callable[[int, float], int]
    # Who the server runs as; None: whoever runs the benchmark.
    user: str | None = None
    slices: int = FEW


def wrk(path: str) -> Callable[[int, float], int]:
    """Sixteen connections, kept alive where the server keeps them.

    wrk counts whole seconds only, so an interrupt ends it: it then reports as usual.
    """

    def asked(port: int, seconds: float) -> str:
        command = ["timeout", "--preserve-status", "--signal=INT", f"{seconds:.3f}", "wrk", "-t1", "-c16", "-d30s"]
        return output_of([*command, f"http://127.0.0.1:{port}{path}"], BARE, DRIVING)

    def drive(port: int, seconds: float) -> int:
        try:
            text = asked(port, seconds)
        except Failed:
            # On a busy machine the interrupt came before wrk was ready for one.
            text = asked(port, 2.0)
        if "Non-2xx" in text or "Socket errors" in text:
            raise Failed(f"wrk saw failed requests on port {port}:\n{text}")
        return int(re.search(r"(\d+) requests in", text)[1])

    return drive


def redis_benchmark(port: int, seconds: float) -> int:
    """GET and SET of 100 bytes on random keys from fifty connections."""
    each = int(40_000 * seconds)
    command = ["redis-benchmark", "-p", str(port), "-n", str(each), "-c", "50", "-d", "100", "-r", "100000", "--csv"]
    text = output_of([*command, "-t", "set,get"], BARE, DRIVING)
    if text.count('"SET"') != 1 or text.count('"GET"') != 1:
        raise Failed(f"redis-benchmark did not finish on port {port}:\n{text}")
    return 2 * each


def when_started(ask: Callable[[], str]) -> str:
    """PostgreSQL listens before it answers: longer after a stop that was cut short."""
    end = time.monotonic() + 30
    while True:
        try:
            return ask()
        except Failed as early:
            if "starting up" not in str(early) or time.monotonic() > end:
                raise
            time.sleep(0.5)


def pgbench(port: int, seconds: float) -> int:
    """pgbench's built-in select on four connections, each a new process of the server."""
    count = str(int(4_000 * seconds))
    command = ["pgbench", "-n", "-S", "-c", "4", "-j", "1", "-t", count, "-h", "127.0.0.1", "-p", str(port)]
    command += ["-U", "postgres", "postgres"]
    text = when_started(lambda: output_of(command, BARE, DRIVING))
    done = re.search(r"actually processed: (\d+)/(\d+)", text)
    if done is None or done[1] != done[2]:
        raise Failed(f"pgbench did not finish on port {port}:\n{text}")
    return int(done[1])


def prepare_nothing(folder: Path) -> None:
    """Most servers need an empty folder."""
    folder.chmod(0o777)


def prepare_nginx(folder: Path) -> None:
    """The page Debian's package ships, and places to write to."""
    (folder / "html").mkdir()
    page = Path("/usr/share/nginx/html/index.html")
    shutil.copy(page, folder / "html" / "index.html")
    shutil.chown(folder, "www-data")


def nginx(folder: Path, port: int) -> list[str]:
    """A stock configuration with its port filled in."""
    text = (HERE / "nginx.conf").read_text().replace("PORT", str(port))
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def as_user(user: str | None, command: list[str]) -> list[str]:
    """The command as somebody else: PostgreSQL refuses to run as root."""
    if user is None or os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command]


def postgres_programs() -> Path:
    """The newest installed server's programs."""
    found = sorted(POSTGRES.glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1]


def prepare_postgres(folder: Path) -> None:
    """A cluster with pgbench's tables, made by a server that is not measured."""
    programs, data = postgres_programs(), folder / "data"
    shutil.chown(folder, "postgres")
    quiet = {"stdout": subprocess.DEVNULL, "check": True, "cwd": folder}
    subprocess.run(as_user("postgres", [str(programs / "initdb"), "-D", str(data), "-A", "trust", "--no-sync"]), **quiet)
    control = [str(programs / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log")]
    subprocess.run(as_user("postgres", [*control, "-o", f"-c listen_addresses= -k {folder}", "start"]), **quiet)
    try:
        load = ["pgbench", "-i", "-q", "-s", "4", "-h", str(folder), "-U", "postgres", "postgres"]
        subprocess.run(load, stderr=subprocess.DEVNULL, **quiet)
    finally:
        subprocess.run(as_user("postgres", [*control, "-m", "fast", "stop"]), **quiet)


def postgres(folder: Path, port: int) -> list[str]:
    """The server in the foreground; stock settings but for the place of its socket."""
    options = ["-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1"]
    return [str(postgres_programs() / "postgres"), "-D", str(folder / "data"), *options]


def redis(folder: Path, port: int) -> list[str]:
    """Stock settings without snapshots, whose forks come at unequal times."""
    return ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]


def fastapi(_: Path, port: int) -> list[str]:
    """uvicorn with uvloop and httptools, one worker."""
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return ["/usr/bin/python3", "-m", "uvicorn", "fastapi_app:app", "--app-dir", str(HERE), "--port", str(port), *options]


def flask(_: Path, port: int) -> list[str]:
    """gunicorn's default (sync) worker: a connection for each request."""
    bind = ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--log-level", "warning"]
    return ["/usr/bin/python3", "-m", "gunicorn", "--chdir", str(HERE), *bind, "flask_app:app"]


def node(_: Path, port: int) -> list[str]:
    """node's own http server."""
    return ["node", str(HERE / "http.js"), str(port)]


SERVICES = [
    Service("nginx", "wrk, default page", prepare_nginx, nginx, wrk("/"), slices=MANY),
    Service("redis", "redis-benchmark, GET and SET", prepare_nothing, redis, redis_benchmark, slices=8),
    Service("postgres", "pgbench -S", prepare_postgres, postgres, pgbench, "postgres"),
    Service("fastapi (uvicorn)", "wrk, validated JSON", prepare_nothing, fastapi, wrk("/items/7?count=5"), slices=MANY),
    Service("flask (gunicorn)", "wrk, rendered page", prepare_nothing, flask, wrk("/page/7"), slices=MANY),
    Service("node", "wrk, JSON", prepare_nothing, node, wrk("/list?from=3")),
]
