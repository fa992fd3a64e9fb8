"""Programs that answer a line with a line, by the files that they hold: bash and sqlite3."""

import os
import select
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

from attended import Attended
from manifest import CORPUS
from variants import Variant

ROWS = 200_000
PATIENCE_S = 60


class Conversing(Attended):
    """A program that is asked at a steady rate, each answer of which is checked."""

    per_second = 20

    def __init__(self, name: str, command: list[str], folder: Path, under: Variant) -> None:
        super().__init__()
        self.name, self.folder, self.log = name, folder, folder.parent / f"{name}.log"
        self.counts, self.trouble, self.over = [0, 0], "", threading.Event()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                env=under.full_environment(),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.thread = threading.Thread(target=self.converse, daemon=True)

    def question(self, number: int) -> str:
        """What is asked."""
        raise NotImplementedError

    def answer(self, number: int) -> str:
        """The only right answer."""
        raise NotImplementedError

    def left(self, number: int) -> str:
        """What is wrong with the files after so many questions; empty: nothing."""
        raise NotImplementedError

    def converse(self) -> None:
        """Asks until it is over, or the program answers no more."""
        while not self.over.wait(1 / self.per_second):
            number = sum(self.counts) + 1
            try:
                said = self.ask(self.question(number))
            except OSError as error:
                said = repr(error)
            good = said == self.answer(number)
            self.counts[0 if good else 1] += 1
            if not good:
                self.trouble = f"said {said!r} instead of {self.answer(number)!r}"
                return

    def ask(self, line: str) -> str:
        """One line there, one back."""
        os.write(self.process.stdin.fileno(), line.encode() + b"\n")
        said, end_at = b"", time.monotonic() + PATIENCE_S
        while not said.endswith(b"\n"):
            ready = select.select([self.process.stdout], [], [], max(0.0, end_at - time.monotonic()))[0]
            if not ready or not (more := os.read(self.process.stdout.fileno(), 65536)):
                return said.decode() + " (and no more)"
            said += more
        return said.decode().rstrip("\n")

    def end(self) -> None:
        """Ends the questions, then the program by the end of its input, and looks at its files."""
        self.over.set()
        self.thread.join(2 * PATIENCE_S)
        self.process.stdin.close()
        status = self.process.wait(PATIENCE_S)
        self.trouble = self.trouble or (f"ended with {status}" if status else "") or self.left(sum(self.counts))


class Bash(Conversing):
    """Holds a lock by flock(2), a place in a file that it reads, and one in a file that it writes."""

    def __init__(self, folder: Path, under: Variant) -> None:
        (folder / "rows").write_text("".join(f"row {n}\n" for n in range(1, ROWS)))
        super().__init__("bash", ["/bin/bash", str(CORPUS / "fixes" / "holds.sh"), str(folder)], folder, under)

    def question(self, number: int) -> str:
        """A number."""
        return str(number)

    def answer(self, number: int) -> str:
        """The number, and the next row of its file."""
        return f"{number} row {number}"

    def left(self, number: int) -> str:
        """It appended a line for each."""
        wanted = "".join(f"line {n}\n" for n in range(1, number + 1))
        return "" if (self.folder / "log").read_text() == wanted else "its log differs"


class Sqlite(Conversing):
    """sqlite3's own shell, which keeps its POSIX locks between transactions."""

    def __init__(self, folder: Path, under: Variant) -> None:
        super().__init__("sqlite", ["sqlite3", "-batch", str(folder / "rows.db")], folder, under)
        self.ask("pragma locking_mode=exclusive;")
        self.ask("create table rows (id integer primary key, body text); select 'made';")

    def question(self, number: int) -> str:
        """One more row, and what all make."""
        return f"insert into rows values ({number}, 'row {number}'); select count(*), sum(id) from rows;"

    def answer(self, number: int) -> str:
        """As if no row was ever lost."""
        return f"{number}|{number * (number + 1) // 2}"

    def left(self, number: int) -> str:
        """The database is whole, and has every row."""
        with sqlite3.connect(self.folder / "rows.db") as database:
            state = database.execute("pragma integrity_check").fetchone()[0]
            wrong = database.execute("select count(*) from rows where body <> 'row ' || id").fetchone()[0]
            count = database.execute("select count(*) from rows").fetchone()[0]
        return "" if (state, wrong, count) == ("ok", 0, number) else f"its database: {state}, {wrong} wrong of {count}"
