"""The stages of training as `spresso train` calls them: each puts networks and data together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import torch

from spresso_cli.codec.weights import load_audio_ae
from spresso_cli.models.audio_ae import AudioAE
from spresso_cli.models.dit import DiT
from spresso_cli.training import audio_ae, autoencoder, clap, dit, finetune
from spresso_cli.training.acceleration import accelerate
from spresso_cli.training.corpus import for_training, held_out
from spresso_cli.training.preparation import Call, TimeIsOver, latents
from spresso_cli.training.step_two import StepTwo
from spresso_cli.training.workspace import group_name


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
    clips = for_training(call.corpus)
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
    clips = for_training(call.corpus)
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
        pool, bank = latents(call, for_training(call.corpus), settings.corpus.passes)
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
    """Step 2, one rate after another in equal shares of the time (step_two.py)."""
    workspace, settings = call.workspace, call.workspace.settings
    rates = workspace.rates(call.rates, step_one_done=True)
    for rate in rates:
        workspace.group_of(rate)  # before hours of sound are encoded: it may be missing
    trained_on, spared = held_out(call.corpus)
    pool, _ = latents(call, trained_on, settings.corpus.passes)
    fitting = any(settings.rates[rate].fits_behind for rate in rates)
    validation = latents(call, spared, 1)[0] if fitting else None
    for index, rate in enumerate(rates):
        call.note(f"quantiser at {rate} Hz")
        boxed = call.part(1 / (len(rates) - index))
        try:
            StepTwo(boxed, rate, pool, validation).train()
        except TimeIsOver as over:
            call.note(str(over))


def train_finetune(call: Call) -> None:
    """Step 3, every group of rates that the chosen ones belong to."""
    workspace, settings = call.workspace, call.workspace.settings
    rates = workspace.rates(call.rates, step_one_done=True)
    groups = sorted({workspace.group_of(rate) for rate in rates})
    pool, bank = latents(call, for_training(call.corpus), settings.corpus.passes)
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
