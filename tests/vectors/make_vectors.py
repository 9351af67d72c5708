"""Writes the test vectors of format_spec.md, section 14, and their manifest.

python tests/vectors/make_vectors.py [FOLDER]
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

from faulty import faulty, faulty_bundles
from good import ODD, ODD_BUNDLES, VALID, VALID_BUNDLES
from reference import bundle
from traps import bundle_traps, traps


def main(folder: Path) -> None:
    manifest = []

    def add(kind: str, name: str, data: bytes, why: str, **expected: object) -> None:
        path = folder / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        manifest.append({"file": f"{kind}/{name}", "bytes": len(data), "why": why, **expected})

    for kind in ("valid", "odd", "faulty"):
        shutil.rmtree(folder / kind, ignore_errors=True)
    for kind, sounds, bundles in (("valid", VALID, VALID_BUNDLES), ("odd", ODD, ODD_BUNDLES)):
        for name, (sound, why) in sounds.items():
            add(kind, name, sound.file, why, stream=sound.expected())
        for name, (clips, why) in bundles.items():
            ascending = sorted(clips, key=str.encode)
            files = {key: hashlib.sha256(clips[key].file).hexdigest() for key in ascending}
            add(kind, name, bundle(clips), why, clips=files)
    refused = faulty() | traps() | faulty_bundles() | bundle_traps()
    for name, (data, error, why) in refused.items():
        add("faulty", name, data, why, error=error)
    text = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in manifest)
    (folder / "manifest.json").write_text(f"[\n{text}\n]\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
