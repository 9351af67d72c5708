"""The convolutions behind the transformer: what they start as, see, and leave alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from spresso_cli.models.dit import AudioDown, AudioDownConfig, DiT, DiTConfig
from spresso_cli.models.refiner import DILATIONS, GROUPS, Norm, Refiner

CONFIG = DiTConfig(width=16, heads=2, joint_blocks=2, audio_blocks=1, text_width=8, patch=4)
ADAPTER = AudioDownConfig(20, channels=2, deviations=120, refiner=8)
TOLD, FRAMES = 120, 40


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained(refiner: Refiner) -> Refiner:
    """With weights that say something."""
    torch.manual_seed(1)
    for block in refiner.blocks:
        torch.nn.init.normal_(block.second.weight, std=0.1)
    torch.nn.init.normal_(refiner.out.weight, std=0.1)
    return refiner.eval().requires_grad_(False)


@pytest.fixture
def refiner() -> Refiner:
    torch.manual_seed(0)
    return trained(Refiner(TOLD, 8))


def inputs(seed: int = 0) -> dict[str, torch.Tensor]:
    said, x = drawn(2, FRAMES, 128, seed=seed), drawn(2, FRAMES, 128, seed=seed + 1)
    return {"f": said, "x": x, "size": drawn(2, FRAMES, TOLD, seed=seed + 2),
            "c_noise": torch.tensor([-0.3, 0.4])}  # fmt: skip


def test_untrained_it_says_what_the_transformer_says() -> None:
    given = inputs()
    assert torch.equal(Refiner(TOLD, 8)(**given), given["f"])


def test_latents_that_z_tells_no_size_of_stay_as_they_are(refiner: Refiner) -> None:
    given = inputs()
    refined = refiner(**given)
    assert torch.equal(refined[..., TOLD:], given["f"][..., TOLD:])
    assert not torch.isclose(refined[..., :TOLD], given["f"][..., :TOLD]).any(0).all()


@pytest.mark.parametrize("name", ["f", "x", "size", "c_noise"])
def test_it_looks_at_everything_that_it_is_given(refiner: Refiner, name: str) -> None:
    given = inputs()
    other = given | {name: inputs(seed=7)[name] if name != "c_noise" else torch.tensor([0.9, -0.9])}
    change = refiner(**other) - refiner(**given)
    if name == "f":
        change = change - (other["f"] - given["f"])
    assert change.abs().amax((1, 2)).min() > 1e-3


class TestNorm:
    @pytest.fixture
    def norm(self) -> Norm:
        torch.manual_seed(2)
        norm = Norm(GROUPS, 8).requires_grad_(False)
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
        return norm

    def test_it_is_group_normalisation_and_a_change_of_each_channel(self, norm: Norm) -> None:
        x, scale, shift = drawn(2, 8, 30, 6) + 3, drawn(2, 8, seed=1), drawn(2, 8, seed=2)
        expected = torch.nn.GroupNorm.forward(norm.double(), x.double())
        expected = expected * scale[..., None, None] + shift[..., None, None]
        given = norm.float()(x.to(memory_format=torch.channels_last), scale, shift)
        torch.testing.assert_close(given, expected.float())
        assert given.is_contiguous(memory_format=torch.channels_last)

    def test_the_number_of_threads_makes_no_difference(self, norm: Norm) -> None:
        """It does to torch's, for large channels-last tensors."""
        x = drawn(1, 8, 504, 30).to(memory_format=torch.channels_last)
        before, found = torch.get_num_threads(), []
        try:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                found.append(norm(x, torch.ones(1, 8), torch.zeros(1, 8)))
        finally:
            torch.set_num_threads(before)
        assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_it_looks_at_neighbours_in_time_and_frequency_and_no_further(refiner: Refiner) -> None:
    """Group normalisation looks at the whole window; without it, reach is the convolutions'."""
    for block in refiner.blocks:
        block.norm.forward = lambda x, scale, shift: (scale[..., None, None] * x
                                                      + shift[..., None, None])  # fmt: skip
    given = inputs()
    there = given["x"].clone()
    there[:, 20, 60] += 5.0
    changed = (refiner(**given | {"x": there}) - refiner(**given)).abs() > 1e-7
    frames, latents = changed[0].any(1).nonzero()[:, 0], changed[0].any(0).nonzero()[:, 0]
    reach = sum(time for time, _ in DILATIONS) + len(DILATIONS) + 2
    assert {19, 21} <= set(frames.tolist()) and {55, 65} <= set(latents.tolist())
    assert frames.min() >= 20 - reach and frames.max() <= 20 + reach
    assert latents.max() < TOLD


@pytest.mark.parametrize(
    ("deviations", "channels"), [(122, 8), (120, 6), (0, 8)], ids=["latents", "channels", "none"]
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_built(
    deviations: int, channels: int
) -> None:
    with pytest.raises(ValueError, match=f"{channels} channels for {deviations} latents"):
        AudioDownConfig(20, deviations=deviations, refiner=channels)


def test_the_diffusion_transformer_is_refined() -> None:
    """Up to its untrained convolutions the same; afterwards not; where z is dropped, sizes are not
    shown."""
    torch.manual_seed(0)
    dit = DiT(CONFIG).eval().requires_grad_(False)
    adapter = AudioDown(ADAPTER, CONFIG).requires_grad_(False)
    adapter.start_head(dit)
    plain = AudioDown(replace(ADAPTER, refiner=0), CONFIG).requires_grad_(False)
    plain.load_state_dict(
        {name: value for name, value in adapter.state_dict().items() if "refiner" not in name}
    )
    adapter.deviations.to_size.normal_()
    plain.deviations.to_size.copy_(adapter.deviations.to_size)
    x, level, z = drawn(1, FRAMES, 128), torch.zeros(1), drawn(1, 2, 2)

    def said(by: AudioDown, z: torch.Tensor, present: bool = True) -> torch.Tensor:
        return dit(x, level, None, by.condition(z, torch.tensor([present])))

    assert torch.equal(said(adapter, z), said(plain, z))
    trained(adapter.refiner)
    assert not torch.allclose(said(adapter, z), said(plain, z))
    assert torch.equal(said(adapter, z, False), said(adapter, 2 * z, False))
