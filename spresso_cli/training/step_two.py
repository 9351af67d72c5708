"""Step 2 of one frame rate, in parts: finished parts are kept, and the next call continues there.

    crops encoded to z       in files of the folder `latents` (collection.py); weighted by what is
                             heard (heard.py), if encoders do that, anew in every call
    filters before QINCo2    in whitening.safetensors
    residual k-means         in start.safetensors, codebook by codebook
    QINCo2                   a run with checkpoints (quantizer.py)
    fitted after QINCo2      the filters after it, in whitening.safetensors; then read-out and
                             fluctuation, in envelope.safetensors

A time box can end the first four parts. The last part is done in any case, since no later stage
accepts a quantiser without it; its duration is kept, and the next time box reserves as much for it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from spresso_cli.models.audibility import Audibility
from spresso_cli.models.envelope import EnvelopeFilter
from spresso_cli.models.latent_encoder import LatentEncoder
from spresso_cli.models.qinco2 import QINCo2
from spresso_cli.models.whitening import Whitening
from spresso_cli.training import distributed, quantizer, read_out, whitening
from spresso_cli.training.collection import collected
from spresso_cli.training.config import RateSettings
from spresso_cli.training.heard import heard
from spresso_cli.training.kmeans import residual_stage
from spresso_cli.training.latents import LatentPool, mark_of
from spresso_cli.training.preparation import Call, TimeIsOver, fingerprint
from spresso_cli.training.stored import about, write

_OPEN_VECTORS = 1024  # held-out z that say what codes leave open
_BEHIND = 0.15  # of the time box, for what is fitted behind QINCo2, where that is not known yet
_AT_MOST = 0.5  # likewise, where it is known: the box is for QINCo2
START = "start.safetensors"


@dataclass(frozen=True)
class StepTwo:
    """Step 2 of a rate whose encoder is done.

    Attributes:
        call: its time box is for this rate alone.
        pool: latents of the training sounds.
        validation: latents of held-out sounds; None will do where nothing is fitted behind QINCo2.
    """

    call: Call
    rate: int
    pool: LatentPool
    validation: LatentPool | None

    @property
    def own(self) -> RateSettings:
        """The rate's settings."""
        return self.call.workspace.settings.rates[self.rate]

    def train(self) -> None:
        """All of it, as far as there is time.

        With no steps in the configuration, the read-out alone, for the quantiser that there is.

        Raises:
            TimeIsOver: before QINCo2 could begin.
        """
        call, own, workspace = self.call, self.own, self.call.workspace
        stage, group = f"quantizer/{self.rate}hz", workspace.group_of(self.rate)
        workspace.check_age(stage, group)
        learning = own.quantizer_training.steps > 0
        windows = own.quantizer_training.vectors if learning else own.envelope_windows
        if not windows:
            return
        box = call.minutes_left()
        with call.training(stage) as folder:
            encoder = workspace.step_one(group, "autoencoder").encoders[str(own.encoder.pool)]
            # A quantiser is of no use without what is fitted behind it: no other box is waited for.
            calm = replace(call, minutes=None) if workspace.unfitted(self.rate) else call
            z = collected(calm, self.pool, encoder, windows, own.vector_frames)
            told = None
            if learning:
                told = self._told(encoder, z) if own.weighs else None
                spared = 0.0 if box is None else self.spared(box)
                self._learn(folder, encoder, z, told, spared)
            if own.fits_behind:
                self._fit_behind(encoder, z, told, learning and own.whitening is not None)

    def spared(self, box: float) -> float:
        """Minutes of a time box that what is fitted behind QINCo2 needs."""
        if not self.own.fits_behind:
            return 0.0
        known = float(about(self._last).get("seconds", 0)) / 60
        return max(_BEHIND * box, min(known, _AT_MOST * box))

    @property
    def _last(self) -> Path:
        """The file that is written when all behind QINCo2 is fitted."""
        name = "envelope" if self.own.envelope_windows else "whitening"
        return self.call.workspace.beside_quantizer(self.rate, name)

    def _told(self, encoder: LatentEncoder, z: Tensor) -> EnvelopeFilter:
        """The read-out: which envelope z says."""
        own = self.own
        asked = (own.envelope_windows, own.vector_frames, self.call.seed)
        return read_out.fit(self.pool, encoder, *asked, own.qinco2.codebooks, own.fluctuation, z)

    def _learn(
        self,
        folder: Path,
        encoder: LatentEncoder,
        z: Tensor,
        told: EnvelopeFilter | None,
        spared: float,
    ) -> None:
        """The filters before and QINCo2, on sequences of z `[B, n, channels]`, or on what encoders
        will take these for where a read-out is told.

        Goes on from the pack's, unless only one of the two has filters: its codebooks are then of
        no use.
        """
        call, own, workspace = self.call, self.own, self.call.workspace
        family, start = workspace.family_of_pack(self.rate), None
        if family and bool(family.whitening) == bool(own.whitening):
            start = workspace.quantizer(self.rate)
        filters = workspace.whitening(self.rate)
        distributed.wait()  # all have read the same before the first one writes
        if own.whitening and filters is None:
            filters = self._filters_before(z) if start is None else start.whitening
            workspace.keep_beside_quantizer(self.rate, "whitening", filters)
        count, metric = own.quantizer_training.vectors, None
        if told is None:
            seen = z if filters is None else filters.whiten(z)
            vectors = quantizer.shuffled(seen.flatten(0, 1), count, call.seed)
        else:
            asked = (count, own.vector_frames, call.seed)
            taken = heard(Audibility.of(told), self.pool, encoder, *asked)
            vectors, metric = taken.z, taken.metric
        begun = workspace.trained(f"quantizer/{self.rate}hz")
        model = start and start.qinco2
        if model is None and not begun:
            model = self._by_kmeans(folder / START, vectors)
        if not begun and call.over(spared):
            raise TimeIsOver("QINCo2 itself is next")
        left = call.minutes_left()
        quantizer.train(
            vectors,
            folder,
            own.qinco2,
            own.quantizer_training,
            None if left is None else max(0.0, left - spared),
            call.report,
            call.seed,
            model,
            call.finish,
            call.compiled,
            metric,
        )
        if distributed.rank() == 0:
            (folder / START).unlink(missing_ok=True)  # it is in the checkpoint

    def _filters_before(self, z: Tensor) -> Whitening:
        call, own = self.call, self.own
        if call.over():
            raise TimeIsOver("the filters before QINCo2 are next")
        call.note("fitting the filters before QINCo2, which nothing interrupts")
        bits = own.whitening_codebooks * own.qinco2.codebook_bits
        return whitening.fit(z, own.whitening, bits, own.whitening_steps, call.seed)

    @torch.no_grad()
    def _by_kmeans(self, path: Path, vectors: Tensor) -> QINCo2:
        """What `quantizer.initialise` makes of vectors `[N, channels]`, a codebook at a time, each
        of which is kept in a file."""
        call, config, training = self.call, self.own.qinco2, self.own.quantizer_training
        torch.manual_seed(call.seed)
        model = QINCo2(config).to(vectors.device)
        residual = quantizer.standardised(model, vectors, training)
        generator = torch.Generator().manual_seed(call.seed)
        mark = mark_of(residual, config, training, call.seed)
        books: list[Tensor] = []
        if about(path).get("mark") == mark:
            kept = load_file(path, str(vectors.device))
            # Copies: a file that is mapped cannot be replaced on Windows, and this one will be.
            books, residual = list(kept["books"].clone()), kept["residual"].clone()
            generator.set_state(kept["generator"].cpu())
        distributed.wait()  # all have read the same before the first one writes
        took = 0.0
        while len(books) < config.codebooks:
            if call.over(took):
                raise TimeIsOver(f"k-means has found {len(books)} of {config.codebooks} codebooks")
            began = time.monotonic()
            book, residual = residual_stage(
                residual, config.entries, training.initial_iterations, generator
            )
            books.append(book)
            kept = {"books": torch.stack(books), "residual": residual}
            write(path, kept | {"generator": generator.get_state()}, {"mark": mark})
            took = (time.monotonic() - began) / 60
        quantizer.fill(model, books, training, generator)
        return model

    def _fit_behind(
        self, encoder: LatentEncoder, z: Tensor, told: EnvelopeFilter | None, filtered: bool
    ) -> None:
        """The filters behind, if it is to be `filtered`, and the read-out, unless it is told; once
        for a quantiser."""
        call, own, workspace = self.call, self.own, self.call.workspace
        began = time.monotonic()
        network = workspace.quantizer(self.rate)
        mark = fingerprint(network.qinco2, mark_of(z), self.validation.mark(), own, call.seed)
        there = about(self._last).get("mark") == mark
        distributed.wait()
        if there:
            return
        call.note("fitting what comes behind QINCo2, which nothing interrupts")

        def done() -> dict[str, str]:
            return {"mark": mark, "seconds": f"{time.monotonic() - began:.0f}"}

        unseen = quantizer.draw_sequences(
            self.validation, encoder, _OPEN_VECTORS, own.vector_frames, call.seed
        )
        if filtered:
            noise = whitening.noise_of(network.whitening, network.qinco2, unseen)
            whitening.complete(network.whitening, z, noise)
            workspace.keep_beside_quantizer(self.rate, "whitening", network.whitening, done())
        if own.envelope_windows:
            asked = (own.envelope_windows, own.vector_frames)
            envelope = self._told(encoder, z) if told is None else told
            envelope.spread.copy_(read_out.left_open(network, unseen))
            if own.fluctuation:
                read_out.learn_fluctuation(
                    envelope, self.pool, encoder, *asked, own.fluctuation_steps, call.seed, z
                )
            workspace.keep_beside_quantizer(self.rate, "envelope", envelope, done())
        call.note(f"that took {done()['seconds']} s, which the next time box spares for it")
