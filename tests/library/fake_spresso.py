"""The real command line over a codec without networks, as a program; run by the tests here.

FAKE_DELAY is the time in seconds that a file takes.
"""

from __future__ import annotations

import os
import time

from spresso_cli.__main__ import main
from spresso_cli.cli import loading
from spresso_cli.container.profile import Profile
from tests.library.conftest import TAG, FakeCodec


class SlowCodec(FakeCodec):
    """Takes its time, so that it can be interrupted."""

    @staticmethod
    def _result(item):
        time.sleep(float(os.environ.get("FAKE_DELAY", "0")))
        return FakeCodec._result(item)


if __name__ == "__main__":
    loading.codec_factory = lambda pack, device: lambda: SlowCodec(batch=2)
    loading.choose_profile = lambda pack, kbps, frame_rate, codebooks: (Profile.of(1, 8), TAG)
    main()
