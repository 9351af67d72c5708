"""A sound in the making: blocks go in once and can be read any number of times, long ones on disk.

Level can be fitted only when the last sample is known, so a decoded sound waits here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np

from spresso_cli.audio.files import BLOCK
from spresso_cli.errors import OutputError, reason

MEMORY_BYTES = 1 << 24  # 16 MiB: 87 s of mono at 48 kHz; what is longer goes to disk


class Spool:
    """float32 blocks at `rate` Hz; the temporary file has no name and vanishes with the process.

    Raises:
        OutputError: there is no space for the temporary file.
    """

    def __init__(self, rate: int, channels: int, memory_bytes: int = MEMORY_BYTES) -> None:
        self.rate = rate
        self.channels = channels
        self.samples = 0  # in each channel, so far
        self._file = tempfile.SpooledTemporaryFile(max_size=memory_bytes)  # noqa: SIM115

    def append(self, block: np.ndarray) -> None:
        """Adds float32 [n, channels] at the end; not while `blocks` is being read."""
        assert block.dtype == np.float32 and block.shape[1:] == (self.channels,)
        try:
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(block).data)
        except OSError as error:
            raise OutputError(
                f"no room for the sound in {tempfile.gettempdir()} ({reason(error)}): "
                "let TMPDIR name another folder"
            ) from None
        self.samples += len(block)

    def blocks(self, size: int = BLOCK) -> Iterator[np.ndarray]:
        """Yields float32 [n <= size, channels]; every call begins at sample 0."""
        frame = 4 * self.channels  # bytes
        for start in range(0, self.samples, size):
            self._file.seek(start * frame)
            data = self._file.read(min(size, self.samples - start) * frame)
            yield np.frombuffer(data, np.float32).reshape(-1, self.channels)

    def close(self) -> None:
        """Frees memory and disk; there are no more blocks afterwards."""
        self._file.close()
