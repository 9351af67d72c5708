"""BirdNET from the user's own TFLite file: a network trained by others, and not for codecs.

BirdNET (Kahl et al., 2021) recognises 6 500 species and a dozen other sources with a convolutional
network on spectrograms up to 15 kHz; the embeddings of its last hidden layer are useful for sounds
of other kinds too (Ghani et al., 2023). Its weights are CC BY-NC-SA 4.0 and not ours to ship.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from spresso_cli.errors import UsageError

WINDOW = 144_000  # samples at 48 kHz that it looks at: 3 s
SPARE = WINDOW // 10  # what a clip may have beyond a window before a second one is worth it


class BirdNetEmbedder:
    """The last hidden layer of BirdNET 2.4, [B, n] -> [B, 1024].

    Clips shorter than a window are zero-padded; of longer ones it hears the beginning and the end,
    and the mean of both counts.
    """

    name = "birdnet"

    def __init__(self, network: Callable[[np.ndarray], np.ndarray]) -> None:
        """`network` maps windows float32 [1, 144000] to [1, 1024]."""
        self._network = network

    def embed(self, x: np.ndarray) -> np.ndarray:
        """Clips float32 [B, n] at 48 kHz -> float32 [B, 1024]."""
        return np.stack([self._one(clip) for clip in x])

    def _one(self, clip: np.ndarray) -> np.ndarray:
        starts = [0] if clip.size <= WINDOW + SPARE else [0, clip.size - WINDOW]
        vectors = []
        for start in starts:
            window = clip[start : start + WINDOW].astype(np.float32)
            vectors.append(self._network(np.pad(window, (0, WINDOW - window.size))[None])[0])
        return np.mean(vectors, axis=0)


def load_birdnet(path: Path) -> BirdNetEmbedder:
    """BirdNET 2.4 from `BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite`.

    Raises UsageError without a TFLite runtime or for another file.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UsageError("BirdNET needs ai-edge-litert: pip install 'spresso_cli[eval]'") from None
    try:
        # The hidden layer is no output of the file, so it has to be kept; the runtime warns of
        # memory.
        interpreter = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{path}: not a usable TFLite file ({reason})") from None
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if tuple(entry["shape"]) != (1, WINDOW):
        raise UsageError(f"{path}: BirdNET takes [1, {WINDOW}], not {list(entry['shape'])}")
    hidden = result["index"] - 1

    def network(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(entry["index"], x)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(hidden))

    return BirdNetEmbedder(network)
