"""QINCo2 against residual quantisation on the same held-out vectors: which quantiser ships.

    python benchmarks/quantizers.py --corpus DIR [--frame-rates 1 11]
        [--run DIR --config NAME [--from PACK]]
        [--fresh-steps N] [--curve 10000 100000 1000000] --output benchmarks/results

Protocol: z of random crops of the corpus's training and dev clips (its manifest's split; the
training ones a second time with augmentation), by the encoder of a pack or of a run, drawn as step
2 of training draws them: behind the first filter where filters lie around the quantiser, and as
they are taken, windows with sound alone, where encoders weigh what can be heard. Errors count alike
there as well, though it is not what the pack's QINCo2 has learnt then. A run's latents are those
that it keeps. Every quantiser of one line of the learning curve is made from the same first
training vectors; the pack's or run's own QINCo2 is the exception and has no number there. RVQ and
iRVQ are k-means codebooks (training/rvq.py, training/irvq.py). MSE is per dimension in original
units, on held-out vectors; relative: over their variance. With a beam, every number of codebooks M
is searched anew, because the beginning of a longer winner is not the best short code. Perplexity is
that of codebook M in the code of full length (and cannot exceed the number of held-out vectors).
Encode and decode times are ratios to greedy RVQ on the same vectors at full length, each measured
right after it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import support
import torch
from torch import Tensor

from spresso_cli.codec.device import resolve_device
from spresso_cli.codec.networks import Networks
from spresso_cli.codec.packs import find_pack
from spresso_cli.errors import SpressoError, UsageError
from spresso_cli.evaluation.codes import perplexity
from spresso_cli.evaluation.tables import Column, Table
from spresso_cli.models.audibility import Audibility
from spresso_cli.models.audio_ae import AudioAE
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.qinco2 import QINCo2, QINCo2Config
from spresso_cli.models.sequence_quantizer import SequenceQuantizer
from spresso_cli.training import quantizer
from spresso_cli.training.config import Settings, load
from spresso_cli.training.corpus import Clip, Corpus, held_out
from spresso_cli.training.heard import heard
from spresso_cli.training.irvq import IRVQ
from spresso_cli.training.latents import LatentPool, build_pool
from spresso_cli.training.preparation import Call, latents
from spresso_cli.training.rvq import RVQ
from spresso_cli.training.stored import ema_weights, part
from spresso_cli.training.workspace import Workspace

COLUMNS = (
    Column("frame_rate", "Hz"),
    Column("codebooks", "M"),
    Column("name", "quantiser"),
    Column("vectors", "vectors"),
    Column("mse", "MSE", 5),
    Column("relative", "relative", 4),
    Column("versus", "x RVQ beam", 3),
    Column("perplexity", "perplexity", 0),
    Column("encode", "encode x", 1),
    Column("decode", "decode x", 1),
)
MICRO_BATCH = {"cpu": 64, "cuda": 1024}  # vectors that QINCo2 searches at once


@dataclass(frozen=True)
class Candidate:
    """A quantiser under test."""

    name: str
    encode: Callable[[Tensor, int], Tensor]  # (z [N, D], M') -> codes [N, M']
    decode: Callable[[Tensor], Tensor]  # codes [N, M'] -> z [N, D]
    nested: bool  # whether the beginning of a code is the code of fewer codebooks
    yardstick: bool = False  # what `x RVQ beam` divides by


@dataclass(frozen=True)
class Source:
    """Where z comes from: a pack, or a run of `spresso train`."""

    name: str
    encoders: dict[int, LatentEncoder]  # by frame rate
    quantizers: dict[int, SequenceQuantizer]  # those that there are
    configs: dict[int, QINCo2Config]
    weighed: dict[int, Audibility]  # where encoders weigh what can be heard
    pool: Callable[[list[Clip], int], LatentPool]  # latents of clips, so many passes


def source(options: argparse.Namespace, settings: Settings, device: torch.device) -> Source:
    """The networks that the options name."""
    if options.run is not None:
        origin = None if options.origin is None else find_pack(options.origin)
        run = Workspace(options.run, settings, device, origin)
        rates = run.rates(options.frame_rates or (), step_one_done=True)
        encoders = {}
        for rate in rates:
            model = run.step_one(run.group_of(rate), "autoencoder")
            encoders[rate] = model.encoders[str(settings.rates[rate].encoder.pool)]
        trained = {r: run.quantizer(r) for r in rates if run.trained(f"quantizer/{r}hz")}
        configs = {rate: settings.rates[rate].qinco2 for rate in rates}
        weighing = [rate for rate in trained if settings.rates[rate].weighs]
        weighed = {rate: Audibility.of(run.envelope(rate)) for rate in weighing}
        call = Call(
            workspace=run, corpus=options.corpus, minutes=None, seed=options.seed, rates=(),
            compiled=False, report=lambda numbers: None, note=lambda text: None, began=0.0,
        )  # fmt: skip
        pool = partial(_kept_latents, call)
        return Source(options.run.name, encoders, trained, configs, weighed, pool)
    info = find_pack(options.pack)
    rates = options.frame_rates or sorted(info.families)
    if missing := set(rates) - set(info.families):
        raise UsageError(f"pack {info.name} has no frame rate of {min(missing)} Hz")
    networks = Networks(device)
    coding = {rate: networks.encoder(info, info.families[rate]) for rate in rates}
    encoders = {rate: own.encoder for rate, own in coding.items()}
    quantizers = {rate: own.quantizer for rate, own in coding.items()}
    configs = {rate: model.qinco2.config for rate, model in quantizers.items()}
    weighed = {rate: own.audibility for rate, own in coding.items() if own.audibility}
    fine = max(encoder.config.fine_bands for encoder in encoders.values())
    pool = partial(_latents, networks.audio_ae(info), options.seed, fine)
    return Source(info.name, encoders, quantizers, configs, weighed, pool)


def _kept_latents(call: Call, clips: list[Clip], passes: int) -> LatentPool:
    return latents(call, clips, passes)[0]


def _latents(audio_ae: AudioAE, seed: int, fine: int, clips: list[Clip], passes: int) -> LatentPool:
    """Latents of the clips, plain and then augmented."""
    corpus = Corpus(clips, audio_ae.latent_mean.device)
    return LatentPool.join(
        [build_pool(corpus, audio_ae, i > 0, seed + i, fine=fine) for i in range(passes)]
    )


def spaced(clips: list[Clip], limit: int | None) -> list[Clip]:
    """At most `limit` clips, evenly spaced by name."""
    count = min(len(clips), limit or len(clips))
    return [clips[i * len(clips) // count] for i in range(count)]


def candidates(
    z: Tensor, config: QINCo2Config, beams: list[int], options: argparse.Namespace
) -> Iterator[Candidate]:
    """The baselines made from training vectors, greedy RVQ first, and a fresh QINCo2 if wanted."""
    generator = torch.Generator().manual_seed(options.seed)
    few = z[: options.baseline_vectors]
    rvq = RVQ.fit(few, config.entries, config.codebooks, options.iterations, generator)
    yield Candidate("RVQ greedy", rvq.encode, rvq.decode, nested=True)
    for beam in beams:
        encode = partial(rvq.encode, beam=beam)
        yield Candidate(f"RVQ beam {beam}", encode, rvq.decode, False, beam == beams[0])
    if not options.no_irvq:
        generator.manual_seed(options.seed)
        irvq = IRVQ.fit(few, config.entries, config.codebooks, options.iterations, generator)
        yield Candidate("iRVQ", irvq.encode, irvq.decode, nested=True)
    if options.fresh_steps:
        yield from searches("QINCo2 fresh", fresh(z, config, options), beams)


def searches(name: str, model: QINCo2, beams: list[int]) -> Iterator[Candidate]:
    """One QINCo2 with every beam."""
    micro = MICRO_BATCH[model.mean.device.type]
    for beam in beams:
        encode = partial(model.encode, beam=beam, micro_batch=micro)
        yield Candidate(f"{name} beam {beam}", encode, model.decode, nested=False)


def fresh(z: Tensor, config: QINCo2Config, options: argparse.Namespace) -> QINCo2:
    """A QINCo2 trained on z, as step 2 does it."""
    training = replace(options.training, steps=options.fresh_steps)
    with tempfile.TemporaryDirectory() as folder:
        quantizer.train(z, Path(folder), config, training, None, seed=options.seed)
        model = QINCo2(config)
        model.load_state_dict(part(ema_weights(Path(folder)), "qinco2"))
    return model.eval().requires_grad_(False).to(z.device)


def drawn(where: Source, rate: int, pool: LatentPool, count: int, frames: int, seed: int) -> Tensor:
    """Vectors as a quantiser sees them, at most `count`, `[N, D]`."""
    encoder = where.encoders[rate]
    if rate in where.weighed:
        windows = 2 * count  # sound is in more than half of them
        return heard(where.weighed[rate], pool, encoder, windows, frames, seed).z[:count]
    z = quantizer.draw_sequences(pool, encoder, count, frames, seed)
    filters = where.quantizers[rate].whitening if rate in where.quantizers else None
    seen = z if filters is None else filters.whiten(z)
    return quantizer.shuffled(seen.flatten(0, 1), count, seed)


@torch.inference_mode()
def measured(
    candidate: Candidate, greedy: Candidate, z: Tensor, config: QINCo2Config, timed: int
) -> list[dict]:
    """One row for every number of codebooks."""
    full = candidate.encode(z, config.codebooks)
    spread = perplexity(full.cpu().numpy(), config.entries)
    variance = float((z - z.mean(0)).square().mean())
    sample = z[:timed]
    encode = _ratio(
        lambda: candidate.encode(sample, config.codebooks),
        lambda: greedy.encode(sample, config.codebooks),
    )
    ours, theirs = full[:timed], greedy.encode(sample, config.codebooks)
    decode = _ratio(lambda: candidate.decode(ours), lambda: greedy.decode(theirs))
    rows = []
    for m in range(1, config.codebooks + 1):
        whole = candidate.nested or m == config.codebooks
        codes = full[:, :m] if whole else candidate.encode(z, m)
        mse = float((z - candidate.decode(codes)).square().mean())
        rows.append(
            {"codebooks": m, "name": candidate.name, "mse": mse, "relative": mse / variance,
             "perplexity": float(spread[m - 1]), "encode": encode, "decode": decode}
        )  # fmt: skip
    return rows


def _ratio(ours: Callable[[], object], theirs: Callable[[], object], runs: int = 3) -> float:
    """Median ratio of wall times, each pair measured back to back."""

    def seconds(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    ours()  # warm
    theirs()
    pairs = [(seconds(theirs), seconds(ours)) for _ in range(runs)]
    return statistics.median(own / other for other, own in pairs)


def main() -> None:
    options = _arguments()
    device = resolve_device(options.device)
    settings = load(options.config)
    where = source(options, settings, device)
    trained_on, spared = (spaced(clips, options.limit) for clips in held_out(options.corpus))
    train_pool, test_pool = where.pool(trained_on, options.passes), where.pool(spared, 1)
    configs = {
        rate: replace(full, codebooks=min(options.depth or full.codebooks, full.codebooks))
        for rate, full in where.configs.items()
    }
    rows: list[dict] = []
    for rate, config in configs.items():
        own = settings.rates.get(rate)
        options.training = own.quantizer_training if own else quantizer.QuantizerTraining()
        frames = own.vector_frames if own else 500
        z = drawn(where, rate, train_pool, max(options.curve), frames, options.seed)
        test = drawn(where, rate, test_pool, options.held_out, frames, options.seed)
        beams = options.beams or [config.beam]
        for count in sorted(options.curve):
            done = list(candidates(z[:count], config, beams, options))
            if count == max(options.curve) and rate in where.quantizers:
                done += searches(f"QINCo2 of {where.name}", where.quantizers[rate].qinco2, beams)
            lines = [measured(one, done[0], test, config, options.timed) for one in done]
            yardstick = lines[[one.yardstick for one in done].index(True)]
            for one, line in zip(done, lines, strict=True):
                vectors = None if where.name in one.name else count
                for row, base in zip(line, yardstick, strict=True):
                    versus = row["mse"] / base["mse"]
                    rows.append({"frame_rate": rate, "vectors": vectors, **row, "versus": versus})
            print(f"{rate} Hz, {count} vectors: done", file=sys.stderr, flush=True)
    rows = [{column.key: row[column.key] for column in COLUMNS} for row in rows]
    shown = options.codebooks or [8, 12]
    last = {rate: config.codebooks for rate, config in configs.items()}
    some = [r for r in rows if r["codebooks"] in (*shown, last[r["frame_rate"]])]
    some.sort(key=lambda r: (r["frame_rate"], r["codebooks"]))
    head = (
        f"z of {where.name} on {options.corpus.name}: {options.held_out} held-out vectors of "
        f"{len(spared)} clips, trained on {len(trained_on)}; "
        f"k-means on up to {options.baseline_vectors} vectors; "
        f"QINCo2 with A = {next(iter(where.configs.values())).shortlist}"
    )
    wide = support.every_column(rows)
    support.publish("quantizers", head, Table(COLUMNS, tuple(some)), options, wide)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder, best with a manifest")
    parser.add_argument("--limit", type=int, help="at most this many clips of each split, spaced")
    parser.add_argument("--passes", type=int, default=2, help="over the training clips")
    parser.add_argument("--pack", help="name or folder of the pack that makes z")
    parser.add_argument("--run", type=Path, help="a model's folder, in the place of a pack")
    parser.add_argument("--config", default="base", help="of --run, and of the fresh training")
    parser.add_argument("--from", dest="origin", help="pack that --run builds on")
    parser.add_argument("--frame-rates", type=int, nargs="*", help="Hz; default: all there are")
    parser.add_argument("--curve", type=int, nargs="+", default=[200_000], metavar="N",
                        help="numbers of training vectors")  # fmt: skip
    parser.add_argument("--held-out", type=int, default=4096, help="vectors that are scored")
    parser.add_argument("--baseline-vectors", type=int, default=200_000, help="most for k-means")
    parser.add_argument("--iterations", type=int, default=12, help="of k-means")
    parser.add_argument("--fresh-steps", type=int, default=0, help="of a QINCo2 trained here")
    parser.add_argument("--beams", type=int, nargs="*",
                        help="B of RVQ and QINCo2, yardstick first; default: QINCo2's")  # fmt: skip
    parser.add_argument("--codebooks", type=int, nargs="*", help="M that are printed beside all")
    parser.add_argument("--depth", type=int, metavar="M", help="at most so many codebooks")
    parser.add_argument("--no-irvq", action="store_true", help="RVQ is the only baseline")
    parser.add_argument("--timed", type=int, default=512, help="vectors that times are taken on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument("--output", type=Path, help="folder for quantizers.csv (every M)")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except SpressoError as error:
        sys.exit(f"quantizers: {error}")
