"""The stages of training as `spresso train` calls them: networks and data put together and run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from spresso_cli.codec.weights import load_audio_ae
from spresso_cli.models.audio_ae import AudioAE
from spresso_cli.models.dit import DiT
from spresso_cli.models.whitening import Whitening
from spresso_cli.training import (
    audio_ae,
    autoencoder,
    clap,
    dit,
    finetune,
    quantizer,
    read_out,
    whitening,
)
from spresso_cli.training.acceleration import accelerate
from spresso_cli.training.corpus import held_out
from spresso_cli.training.preparation import Call, latents
from spresso_cli.training.workspace import group_name

_OPEN_VECTORS = 1024  # held-out z that say what codes leave open
_AFTERWARDS = 0.15  # of a rate's time in step 2: for what is fitted when its QINCo2 is trained


def train_audio_ae(call: Call) -> None:
    """The AudioAE; a pack that was named gives it its first weights."""
    workspace, settings = call.workspace, call.workspace.settings
    torch.manual_seed(call.seed)
    network = AudioAE(settings.audio_ae)
    if workspace.pack is not None and not workspace.trained("audio-ae"):
        taken = audio_ae.warm_start(network, load_audio_ae(workspace.pack))
        call.note(f"from pack {workspace.pack.name}: {taken}")
    network.to(workspace.device)
    accelerate(network, workspace.device, call.compiled)
    clips = held_out(call.corpus)[0]
    with call.training("audio-ae") as folder, closing(call.windows(clips)) as windows:
        audio_ae.train(
            windows,
            network,
            folder,
            settings.audio_ae_training,
            call.minutes_left(),
            call.report,
            call.seed,
            call.finish,
        )


def train_clap(call: Call) -> None:
    """CLAP, on the corpus's captions."""
    workspace, settings = call.workspace, call.workspace.settings
    clips = held_out(call.corpus)[0]
    with call.training("clap") as folder, closing(call.windows(clips)) as windows:
        clap.train(
            windows,
            workspace.device,
            folder,
            settings.clap,
            settings.clap_training,
            call.minutes_left(),
            call.report,
            call.seed,
            call.finish,
        )


def train_dit(call: Call) -> None:
    """The base DiT, on latents and captions."""
    workspace, settings = call.workspace, call.workspace.settings
    trained_on, spared = held_out(call.corpus)
    with call.training("dit") as folder:
        pool, bank = latents(call, trained_on, settings.corpus.passes)
        validation = latents(call, spared, 1)
        torch.manual_seed(call.seed)
        network = DiT(settings.dit).to(workspace.device)
        accelerate(network, workspace.device, call.compiled)
        dit.train(
            pool,
            bank,
            validation,
            network,
            folder,
            settings.dit_training,
            call.minutes_left(),
            call.report,
            call.seed,
            call.finish,
        )


def train_autoencoder(call: Call) -> None:
    """Step 1, the chosen rates together on one trunk."""
    workspace, settings = call.workspace, call.workspace.settings
    rates = workspace.rates(call.rates, step_one_done=False)
    with call.training(f"autoencoder/{group_name(rates)}") as folder:
        pool, bank = latents(call, held_out(call.corpus)[0], settings.corpus.passes)
        torch.manual_seed(call.seed)
        model = workspace.fresh_step_one(rates)
        accelerate(model, workspace.device, call.compiled)
        autoencoder.train(
            pool,
            bank,
            model,
            folder,
            settings.autoencoder_training,
            call.minutes_left(),
            call.report,
            call.seed,
            call.finish,
        )


def train_quantizer(call: Call) -> None:
    """Step 2 and the envelope's read-out, one rate after another in equal shares of the time, each
    with what is fitted behind its QINCo2.

    With no steps in the configuration, the read-out alone, for the quantiser that there is.
    """
    workspace, settings = call.workspace, call.workspace.settings
    rates = workspace.rates(call.rates, step_one_done=True)
    trained_on, spared = held_out(call.corpus)
    pool, _ = latents(call, trained_on, settings.corpus.passes)
    fitting = any(
        settings.rates[rate].envelope_windows or settings.rates[rate].whitening for rate in rates
    )
    validation = latents(call, spared, 1)[0] if fitting else None
    for index, rate in enumerate(rates):
        call.note(f"quantiser at {rate} Hz")
        boxed = call.part(1 / (len(rates) - index))
        group = workspace.group_of(rate)
        workspace.check_age(f"quantizer/{rate}hz", group)
        with call.training(f"quantizer/{rate}hz") as folder:
            own = settings.rates[rate]
            model = workspace.step_one(group, "autoencoder")
            encoder = model.encoders[str(own.encoder.pool)]
            if validation is not None:
                unseen = quantizer.draw_sequences(
                    validation, encoder, _OPEN_VECTORS, own.vector_frames, call.seed
                )
            if own.quantizer_training.steps:
                z = quantizer.draw_sequences(
                    pool, encoder, own.quantizer_training.vectors, own.vector_frames, call.seed
                )
                filters = _train_on(boxed, folder, rate, z)
                if filters is not None:
                    noise = whitening.noise_of(filters, workspace.quantizer(rate).qinco2, unseen)
                    whitening.complete(filters, z, noise)
                    workspace.keep_whitening(rate, filters)
            if own.envelope_windows:
                envelope = read_out.fit(
                    pool,
                    encoder,
                    own.envelope_windows,
                    own.vector_frames,
                    call.seed,
                    own.qinco2.codebooks,
                    own.fluctuation,
                )
                envelope.spread.copy_(read_out.left_open(workspace.quantizer(rate), unseen))
                if own.fluctuation:
                    read_out.learn_fluctuation(
                        envelope,
                        pool,
                        encoder,
                        own.envelope_windows,
                        own.vector_frames,
                        own.fluctuation_steps,
                        call.seed,
                    )
                workspace.keep_envelope(rate, envelope)


def _train_on(call: Call, folder: Path, rate: int, z: Tensor) -> Whitening | None:
    """One rate's QINCo2 on sequences of z; returns the filter before it, if there is one.

    Goes on from the pack's, unless only one of the two has filters: its codebooks are then of no
    use.
    """
    workspace, own = call.workspace, call.workspace.settings.rates[rate]
    family, start = workspace.family_of_pack(rate), None
    filters = workspace.whitening(rate)
    if family and bool(family.whitening) == bool(own.whitening):
        start = workspace.quantizer(rate)
        filters = filters or start.whitening
    if own.whitening and filters is None:
        bits = own.whitening_codebooks * own.qinco2.codebook_bits
        filters = whitening.fit(z, own.whitening, bits, own.whitening_steps, call.seed)
    if filters is not None:
        workspace.keep_whitening(rate, filters)
    seen = z if filters is None else filters.whiten(z)
    quantizer.train(
        quantizer.shuffled(seen, own.quantizer_training.vectors, call.seed),
        folder,
        own.qinco2,
        own.quantizer_training,
        call.minutes_left(1 - _AFTERWARDS if own.whitening or own.envelope_windows else 1.0),
        call.report,
        call.seed,
        start and start.qinco2,
        call.finish,
        call.compiled,
    )
    return filters


def train_finetune(call: Call) -> None:
    """Step 3, every group of rates that the chosen ones belong to."""
    workspace, settings = call.workspace, call.workspace.settings
    rates = workspace.rates(call.rates, step_one_done=True)
    groups = sorted({workspace.group_of(rate) for rate in rates})
    pool, bank = latents(call, held_out(call.corpus)[0], settings.corpus.passes)
    for index, rates in enumerate(groups):
        stage = f"finetune/{group_name(rates)}"
        workspace.check_age(stage, rates)
        for rate in rates:
            workspace.check_step_two(rate)
            workspace.check_age(f"quantizer/{rate}hz", rates)
        with call.training(stage) as folder:
            model = workspace.step_one(rates, "autoencoder")
            workspace.extend_adapters(model)
            accelerate(model, workspace.device, call.compiled)
            pools = {settings.rates[rate].encoder.pool: rate for rate in rates}
            finetune.train(
                pool,
                bank,
                model,
                {t: workspace.quantizer(rate) for t, rate in pools.items()},
                folder,
                settings.finetune_training,
                call.minutes_left(1 / (len(groups) - index)),
                call.report,
                call.seed,
                call.finish,
            )


STAGES: dict[str, Callable[[Call], None]] = {
    "audio-ae": train_audio_ae,
    "clap": train_clap,
    "dit": train_dit,
    "autoencoder": train_autoencoder,
    "quantizer": train_quantizer,
    "finetune": train_finetune,
}
