"""Sounds side by side on the cores of a CPU, and what comes out of any number of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import torch

from spresso_cli.audio.files import ArraySource
from spresso_cli.codec.codec import Codec
from spresso_cli.codec.cores import LARGE, MOST, Cores
from spresso_cli.codec.protocol import DecodeOptions
from spresso_cli.container import spr
from spresso_cli.container.profile import Profile
from spresso_cli.errors import AudioError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Three for every test, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def side_by_side(cores: Cores, work, items):
    """`work(item)` of every item, by a stage that does them one after the other."""
    return cores.through(lambda some: map(work, some), items)


def in_a_thread(work):
    """What `work()` returns in a thread that torch has not seen."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


class TestWorkers:
    def test_there_are_as_many_as_torch_may_use_threads(self) -> None:
        with closing(Cores(CPU)) as cores:
            assert cores.workers == 3
        torch.set_num_threads(MOST + 1)
        with closing(Cores(CPU)) as cores:
            assert cores.workers == MOST

    def test_a_gpu_has_one_and_so_has_a_single_core(self) -> None:
        with closing(Cores(torch.device("cuda"))) as cores:
            assert cores.workers == 1
        torch.set_num_threads(1)
        with closing(Cores(CPU)) as cores:
            assert cores.workers == 1

    def test_torch_has_one_thread_in_each_and_as_many_as_before_everywhere_else(self) -> None:
        with closing(Cores(CPU)) as cores:
            inside = list(side_by_side(cores, lambda _: torch.get_num_threads(), range(9)))
            parts = list(cores.each(lambda _: torch.get_num_threads(), range(9)))
            assert set(inside + parts) == {1}
            assert torch.get_num_threads() == 3
            assert in_a_thread(torch.get_num_threads) == 3
        assert in_a_thread(torch.get_num_threads) == 3


class TestSideBySide:
    def test_results_keep_the_order_of_their_items(self) -> None:
        last = threading.Event()

        def work(item: int) -> int:
            if item == 0:
                assert last.wait(10)  # the first one ends behind the second
            if item == 1:
                last.set()
            return item

        with closing(Cores(CPU)) as cores:
            assert list(side_by_side(cores, work, range(7))) == list(range(7))

    def test_it_takes_no_more_than_it_has_room_for(self) -> None:
        taken = []

        def items() -> Iterator[int]:
            for item in range(100):
                taken.append(item)
                yield item

        with closing(Cores(CPU)) as cores:
            results = side_by_side(cores, lambda item: item, items())
            assert next(results) == 0
            assert len(taken) <= 2 * cores.workers
            results.close()

    def test_what_fails_is_raised_in_its_place(self) -> None:
        def work(item: int) -> int:
            if item == 2:
                raise ValueError("two")
            return item

        with closing(Cores(CPU)) as cores:
            results = side_by_side(cores, work, range(5))
            assert [next(results), next(results)] == [0, 1]
            with pytest.raises(ValueError, match="two"):
                next(results)

    def test_two_large_ones_at_most_are_at_work_at_once(self) -> None:
        lock, inside, most = threading.Lock(), [], []

        def work(item: int) -> int:
            with lock:
                inside.append(item)
                most.append(sum(other % 2 for other in inside))
            threading.Event().wait(0.002)
            with lock:
                inside.remove(item)
            return item

        with closing(Cores(CPU)) as cores:
            results = cores.through(lambda some: map(work, some), range(60), lambda item: item % 2)
            assert list(results) == list(range(60))
        assert max(most) == LARGE < cores.workers

    def test_what_nobody_waits_for_stops_at_its_next_part(self) -> None:
        parts, begun = [], threading.Semaphore(0)

        def part(item: int) -> None:
            parts.append(item)
            begun.release()
            threading.Event().wait(0.01)

        def work(item: int) -> int:
            if item:
                for _ in range(1000):
                    list(cores.each(part, range(2)))
            return item

        with closing(Cores(CPU)) as cores:
            results = side_by_side(cores, work, range(2))
            assert next(results) == 0
            assert begun.acquire(timeout=10)
            results.close()  # waits for what is inside
            assert len(parts) < 2000


class TestParts:
    def test_each_keeps_the_order_and_raises_what_a_part_raises(self) -> None:
        with closing(Cores(CPU)) as cores:
            assert list(cores.each(lambda part: part + 1, range(9))) == list(range(1, 10))
            with pytest.raises(ZeroDivisionError):
                list(cores.each(lambda part: 1 // part, [1, 0]))

    def test_nothing_is_recorded_for_gradients(self) -> None:
        weight = torch.ones(1, requires_grad=True)
        with closing(Cores(CPU)) as cores:
            assert not any(x.requires_grad for x in cores.each(lambda part: part * weight, [1, 2]))

    def test_a_single_part_stays_where_it_is(self) -> None:
        here = threading.get_ident()
        with closing(Cores(CPU)) as cores:
            assert list(cores.each(lambda _: threading.get_ident(), [0])) == [here]


class TestSounds:
    """Of the golden pack: short and long, mono and stereo, and one that is broken."""

    @pytest.fixture
    def sounds(self, sound) -> list[np.ndarray]:
        return [
            sound(30_000, seed=1),
            sound(700_000, seed=2),  # several windows
            np.zeros((5000, 1), np.float32),
            np.full((100, 1), np.nan, np.float32),
            sound(60_000, channels=2, seed=3),
            sound(20_000, seed=4),
        ]

    @staticmethod
    def compressed(codec: Codec, sounds: list[np.ndarray], kbps: float) -> list[bytes | str]:
        items = [(i, ArraySource(x, 48_000)) for i, x in enumerate(sounds)]
        found = list(codec.compress_many(items, codec.pack.choose(kbps, None, None)))
        assert [key for key, _ in found] == list(range(len(sounds)))
        return [str(r) if isinstance(r, AudioError) else spr.write(r) for _, r in found]

    @staticmethod
    def decompressed(codec: Codec, files: list[bytes]) -> list[np.ndarray]:
        items = [(i, spr.read(data), DecodeOptions(seed=i)) for i, data in enumerate(files)]
        sounds = []
        for at, (key, take) in enumerate(codec.decompress_many(items)):
            assert key == at
            sounds.append(np.concatenate(list(take.blocks())))
            take.close()
        return sounds

    @pytest.mark.parametrize("kbps", [0.096, 1.32])
    def test_the_same_bits_come_from_any_number_of_cores(self, codec, sounds, kbps) -> None:
        files = self.compressed(codec, sounds, kbps)
        assert isinstance(files[3], str) and "nan" in files[3]
        whole = [data for data in files if isinstance(data, bytes)]
        takes = self.decompressed(codec, whole)
        torch.set_num_threads(1)
        assert self.compressed(codec, sounds, kbps) == files
        for take, alone in zip(takes, self.decompressed(codec, whole), strict=True):
            assert np.array_equal(take, alone)

    @pytest.mark.parametrize("kbps", [0.096, 1.32])
    def test_the_same_bits_come_from_a_sound_by_itself(self, codec, sounds, kbps) -> None:
        sounds = [sounds[1], sounds[4]]
        files = self.compressed(codec, sounds, kbps)
        assert [codec.compress(x, 48_000, kbps) for x in sounds] == files
        for seed, (data, take) in enumerate(
            zip(files, self.decompressed(codec, files), strict=True)
        ):
            assert np.array_equal(codec.decompress(data, seed=seed)[0], take)

    def test_networks_are_loaded_once_however_many_ask(self, tiny_path, sounds, monkeypatch):
        from spresso_cli.codec import networks

        loaded = []
        load = networks.load_dit
        monkeypatch.setattr(
            networks, "load_dit", lambda *which: loaded.append(which) or load(*which)
        )
        own = Codec.load(tiny_path, device="cpu")
        files = self.compressed(own, [sounds[0]] * 4, 0.096)
        self.decompressed(own, files)
        assert len(loaded) == 1

    def test_an_interruption_ends_at_once(self, codec, sound) -> None:
        """Whoever stops taking results need not wait for the rest of a long sound."""
        long = [ArraySource(sound(48_000 * 60, seed=i), 48_000) for i in range(2)]
        profile = Profile.of(11, 12)
        results = codec.compress_many([(0, ArraySource(sound(100), 48_000)), *enumerate(long, 1)],
                                      profile)  # fmt: skip
        assert next(results)[0] == 0
        results.close()
        assert not [t for t in threading.enumerate() if t.name.startswith("spresso-sound")]
