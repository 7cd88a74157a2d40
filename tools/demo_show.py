"""How the demo tells what it does: a line per step, rewritten in a terminal, plain in a pipe."""

import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

REMARK = re.compile(r"(images|examples|tools/cluster): | +[0-9.]+ s  ")


class Note:
    """What a step has to say once it is done."""

    text = ""


class Show:
    def __init__(self, *, quiet: bool = False) -> None:
        self._out = sys.stderr if quiet else sys.stdout
        self._live = self._out.isatty()
        self._title = ""

    def heading(self, text: str) -> None:
        bold = f"\033[1m{text}\033[0m" if self._live else text
        print(f"\n{bold}", file=self._out, flush=True)

    def line(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)

    def progress(self, text: str) -> None:
        """What goes on inside a step: a moving line in a terminal, the tools' own remarks in a pipe."""
        if self._live:
            room = shutil.get_terminal_size().columns - len(self._title) - 8
            print(f"\r\033[K  … {self._title}  {text[: max(room, 0)]}", end="", file=self._out, flush=True)
        elif REMARK.match(text):
            print(f"    {text}", file=self._out, flush=True)

    def news(self, text: str) -> None:
        """What goes on inside a step, where each word of it is worth a line in a pipe."""
        if self._live:
            self.progress(text)
        else:
            self.line(f"    {text}")

    @contextmanager
    def step(self, title: str) -> Iterator[Note]:
        note, began, self._title = Note(), time.monotonic(), title
        if self._live:
            print(f"  … {title}", end="", file=self._out, flush=True)
        try:
            yield note
        except BaseException:
            self._done("✗", title, "", began)
            raise
        self._done("✓", title, note.text, began)

    def _done(self, mark: str, title: str, note: str, began: float) -> None:
        start = "\r\033[K" if self._live else ""
        tail = f": {note}" if note else ""
        taken = f"({time.monotonic() - began:.1f} s)"
        print(f"{start}  {mark} {title}{tail}  {taken}", file=self._out, flush=True)
