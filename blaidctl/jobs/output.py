"""What a job writes: passed on as it comes, counted, and its end kept. Never more of it in memory than that end."""

from __future__ import annotations

import contextlib
import os
import select
import threading

#: How much of the end is kept: as text it is at most three times as long (a byte that is not UTF-8 becomes U+FFFD).
TAIL_BYTES = 16 * 1024
_READ_BYTES = 64 * 1024
#: How long a pipe may take to be read to its end after its writers are gone, before its reader counts as stalled.
_READ_WITHIN_S = 1.0


class Tail:
    """The last bytes of both streams, in the order in which they came."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.total = 0
        self._kept = bytearray()
        self._lock = threading.Lock()

    def add(self, chunk: bytes) -> None:
        """Keep the end of what was written so far."""
        with self._lock:
            self.total += len(chunk)
            self._kept += chunk
            del self._kept[:-TAIL_BYTES]

    def text(self) -> str:
        """Return the end as text that every database can store; a character cut in its middle is left out."""
        with self._lock:
            kept = bytes(self._kept)
        if self.total > len(kept):
            kept = kept.lstrip(bytes(range(0x80, 0xC0)))
        return kept.decode("utf-8", errors="replace").replace("\x00", "\ufffd")


class Tee(threading.Thread):
    """One stream of the process: read from its pipe, passed on to a descriptor of this program."""

    def __init__(self, tail: Tail, target: int, most_bytes: int | None = None) -> None:
        """Take where the end is kept, the descriptor that output is passed on to, and how much of it at the most."""
        super().__init__(name=f"output {target}", daemon=True)
        self._tail, self._target, self._most_bytes, self._passed_on = tail, target, most_bytes, 0
        self._source, self.pipe = os.pipe()
        self._rest: list[bytes] = []
        self._reading = threading.Lock()
        self._handed_over = False
        self._reader_is_gone = False
        #: Why output did not reach its place (no room, too much), or nothing. A reader that left (`| head`) chose to.
        self.lost = ""

    def started(self) -> None:
        """Let go of the end that the process writes to, and begin."""
        os.close(self.pipe)
        self.start()

    def run(self) -> None:
        """Pass on until every writer is gone, or somebody else reads the end."""
        while chunk := self._next():
            self._pass_on(chunk)

    def _next(self) -> bytes:
        with self._reading:
            if self._handed_over:
                return b""
            chunk = os.read(self._source, _READ_BYTES)
            self._tail.add(chunk)
            return chunk

    def read_to_the_end(self) -> None:
        """Make the tail complete, after the writers are gone; also when nobody takes what was passed on."""
        self.join(_READ_WITHIN_S)
        # It hangs in a write: what is in the pipe is no more than the kernel holds, and is read here; when the thread
        # wakes it must not take a piece out of turn. Or it hangs in a read, because a stranger was handed the pipe:
        # what that one has to say is no longer the job's.
        if self.is_alive() and self._reading.acquire(timeout=_READ_WITHIN_S):
            self._handed_over = True
            os.set_blocking(self._source, False)
            with contextlib.suppress(BlockingIOError):
                while chunk := os.read(self._source, _READ_BYTES):
                    self._tail.add(chunk)
                    self._rest.append(chunk)
            self._reading.release()

    def pass_on_the_rest(self) -> None:
        """Wait for the reader as any program does, and give it what is left."""
        if self._handed_over:
            self.join()
        for chunk in self._rest:
            self._pass_on(chunk)

    def _pass_on(self, chunk: bytes) -> None:
        self._passed_on += len(chunk)
        if self._most_bytes is not None and self._passed_on > self._most_bytes:
            self.lost = self.lost or f"it is more than {self._most_bytes} bytes"
        view = memoryview(chunk)
        while view and not self._reader_is_gone and not self.lost:
            try:
                view = view[os.write(self._target, view) :]
            except BlockingIOError:  # whoever shares the stream may have made it so: that is no loss, only a wait
                select.select((), (self._target,), ())
            except BrokenPipeError:
                self._reader_is_gone = True
            except OSError as error:
                self.lost = error.strerror or type(error).__name__
