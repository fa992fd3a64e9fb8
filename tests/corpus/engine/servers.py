"""The healthy servers: the benchmark's six and three more, each with its rate."""

from dataclasses import dataclass, replace
from pathlib import Path

from clients import Client, Http, Memcached, Mqtt, Pgbench, Redis
from services import SERVICES, Service, prepare_nothing

HAPROXY = """global
    maxconn 500
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 5s
frontend outer
    bind 127.0.0.1:PORT
    default_backend inner
backend inner
    server one unix@FOLDER/inner
frontend behind
    bind unix@FOLDER/inner
    http-request return status 200 content-type text/plain string "behind"
"""

MOSQUITTO = """listener PORT 127.0.0.1
allow_anonymous true
user root
persistence true
persistence_location FOLDER/
log_type error
"""


@dataclass(frozen=True)
class Server:
    """A service of the benchmark, and who asks it how often."""

    service: Service
    client: Client
    per_second: int

    @property
    def name(self) -> str:
        """Its first word."""
        return self.service.name.split()[0]


def configured(folder: Path, port: int, text: str) -> str:
    """Writes a configuration with its places filled in."""
    path = folder / "server.conf"
    path.write_text(text.replace("PORT", str(port)).replace("FOLDER", str(folder)))
    return str(path)


def haproxy(folder: Path, port: int) -> list[str]:
    """In front of itself."""
    return ["haproxy", "-db", "-f", configured(folder, port, HAPROXY)]


def mosquitto(folder: Path, port: int) -> list[str]:
    """With persistence."""
    return ["mosquitto", "-c", configured(folder, port, MOSQUITTO)]


def memcached(_: Path, port: int) -> list[str]:
    """Four worker threads and so little memory that it evicts."""
    return ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(port), "-t", "4", "-m", "8"]


def not_driven(port: int, seconds: float) -> int:
    """These are not part of the benchmark."""
    raise NotImplementedError(f"port {port} is not driven for {seconds} s")


MORE = [
    Service("memcached", "", prepare_nothing, memcached, not_driven),
    Service("haproxy", "", prepare_nothing, haproxy, not_driven),
    Service("mosquitto", "", prepare_nothing, mosquitto, not_driven),
]

# uvicorn closes what asks nothing for 5 s: a client on a busy machine may ask at that very moment.
KEEP = ["--timeout-keep-alive", "60"]

DRIVEN: dict[str, tuple[Client, int]] = {
    "nginx": (Http("/"), 200),
    "redis": (Redis(), 150),
    "postgres": (Pgbench(), 100),
    "fastapi": (Http("/items/7?count=5"), 100),
    # gunicorn's sync workers close after each answer.
    "flask": (Http("/page/7", keep=False), 50),
    "node": (Http("/list?from=3"), 150),
    "memcached": (Memcached(), 150),
    "haproxy": (Http("/"), 100),
    "mosquitto": (Mqtt(), 50),
}


def servers() -> list[Server]:
    """All nine."""
    return [Server(patient(service), *DRIVEN[service.name.split()[0]]) for service in [*SERVICES, *MORE]]


def patient(service: Service) -> Service:
    """Keeps the connections of clients that ask seldom."""
    if not service.name.startswith("fastapi"):
        return service
    usual = service.command
    return replace(service, command=lambda folder, port: [*usual(folder, port), *KEEP])
