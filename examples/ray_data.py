"""Compress a library on a Ray cluster: `python examples/ray_data.py IN OUT` (extra `ray`).

Every actor loads the codec once and keeps it loaded; Ray Data gives batches of files to whichever
actor is free. IN and OUT must be reachable under the same names from all machines. After an
interruption, run it again: outputs that are done and intact are skipped.
"""

from __future__ import annotations

import argparse
import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ray.data

from spresso_cli.codec.packs import find_pack
from spresso_cli.codec.protocol import CodecProtocol
from spresso_cli.library.engine import RunOptions
from spresso_cli.library.plan import SOUND_SUFFIXES, Job, find, plan
from spresso_cli.library.resume import StreamParameters
from spresso_cli.library.run import compress_library

FILES_PER_BATCH = 64


class Compressor:
    """An actor: one loaded codec that compresses the batches it is given."""

    def __init__(self, load: Callable[[], CodecProtocol], parameters: StreamParameters) -> None:
        self._codec = load()
        self._parameters = parameters

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        # Names travel as bytes, because Arrow's strings are UTF-8 and file names need not be.
        jobs = [
            Job(*(Path(os.fsdecode(name)) for name in names), relative="")
            for names in zip(batch["source"], batch["output"], strict=True)
        ]
        options = RunOptions(stdin=io.BytesIO, stdout=io.BytesIO, resume=True)
        results = list(compress_library(jobs, lambda: self._codec, self._parameters, options))
        return {
            "source": batch["source"],
            "status": [result.status for result in results],
            "error": [str(result.error or "") for result in results],
        }


def compress_folder(
    folder: str,
    output_dir: str,
    load: Callable[[], CodecProtocol],
    parameters: StreamParameters,
    *,
    actors: int,
    gpus: float = 0,
) -> list[dict]:
    """Returns one row {source, status, error} for every sound in `folder`."""
    found = find([folder], suffixes=SOUND_SUFFIXES, recursive=True)
    jobs = plan(found, suffix=".spr", output_dir=output_dir)
    items = [
        {
            "source": os.fsencode(os.path.abspath(job.source)),
            "output": os.fsencode(os.path.abspath(job.output)),
        }
        for job in jobs
    ]
    return (
        ray.data.from_items(items)
        .map_batches(
            Compressor,
            fn_constructor_args=(load, parameters),
            batch_size=FILES_PER_BATCH,
            concurrency=actors,
            num_gpus=gpus,
        )
        .take_all()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="IN")
    parser.add_argument("output_dir", metavar="OUT")
    parser.add_argument("--kbps", type=float, help="default: the pack's")
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--gpus", type=float, default=0, help="per actor")
    arguments = parser.parse_args()

    pack = find_pack(None)
    profile = pack.choose(kbps=arguments.kbps)
    tag = pack.families[profile.frame_rate].tag
    device = "cuda" if arguments.gpus else "cpu"

    def load() -> CodecProtocol:
        from spresso_cli.codec.codec import Codec

        return Codec.load(pack.name, device)

    rows = compress_folder(
        arguments.folder,
        arguments.output_dir,
        load,
        StreamParameters(profile, tag),
        actors=arguments.actors,
        gpus=arguments.gpus,
    )
    for row in rows:
        if row["status"] == "failed":
            print(f"{os.fsdecode(row['source'])}: {row['error']}")
    print(dict(Counter(row["status"] for row in rows)))
    raise SystemExit(any(row["status"] == "failed" for row in rows))


if __name__ == "__main__":
    main()
