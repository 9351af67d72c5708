"""CLAP's towers: words without a vocabulary, embeddings of unit length, padding without effect."""

from __future__ import annotations

import pytest
import torch

from spresso_cli.models.clap import CLAP, CLAPConfig, ngram_buckets, words_of


@pytest.fixture(scope="module")
def clap() -> CLAP:
    torch.manual_seed(0)
    config = CLAPConfig(
        embedding=8, audio_dim=8, audio_blocks=1, mel_bands=16, text_width=16, text_heads=2,
        text_blocks=1, text_buckets=512,
    )  # fmt: skip
    return CLAP(config).eval().requires_grad_(False)


def test_words_are_lower_case_letters_and_digits() -> None:
    assert words_of("Door_Slam 02, (heavy)!", 8) == ["door", "slam", "02", "heavy"]
    assert words_of("a b c d", 2) == ["a", "b"]


def test_words_that_share_a_stem_share_buckets() -> None:
    near = set(ngram_buckets("creaking", 4096)) & set(ngram_buckets("creak", 4096))
    far = set(ngram_buckets("creaking", 4096)) & set(ngram_buckets("rain", 4096))
    assert len(near) > len(far)
    assert 0 not in ngram_buckets("rain", 4)  # padding


def test_a_word_is_taken_apart_once() -> None:
    assert ngram_buckets("rain", 4096) is ngram_buckets("rain", 4096)


def test_embeddings_have_unit_length(clap: CLAP) -> None:
    text = clap.text.embed(["rain", "", "a dog barks twice"])
    audio = clap.audio(torch.randn(2, 24_000))
    for rows in (text, audio):
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(len(rows)))


def test_longer_captions_in_the_batch_change_nothing(clap: CLAP) -> None:
    alone = clap.text.embed(["dog barking"])
    beside = clap.text.embed(["dog barking", "a very long caption about a dog that is barking"])
    torch.testing.assert_close(alone[0], beside[0])
