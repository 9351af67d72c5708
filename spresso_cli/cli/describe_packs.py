"""What an installed pack offers, as a plain record and as a table (`spresso models`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spresso_cli.cli.text import kbps, printable

if TYPE_CHECKING:
    from rich.table import Table

    from spresso_cli.codec.packs import PackInfo


MARKS = "* default   + not by -b, which takes a better one"


def pack_record(pack: PackInfo) -> dict[str, object]:
    """The stable JSON form of one pack: what `spresso models --json` prints a line of."""
    return {
        "pack": pack.name,
        "version": pack.version,
        "status": pack.status,
        "licence": pack.licence,
        "path": str(pack.path),
        "default_kbps": pack.default_kbps,
        "families": [
            {
                "frame_rate": family.frame_rate,
                "bits_per_code": family.bits,
                "max_codebooks": family.max_codebooks,
                "weights_tag": family.tag.hex(),
                "sampler": family.sampler,
                "steps": family.steps,
                "guidance": family.guidance,
            }
            for _, family in sorted(pack.families.items())
        ],
        "points": [
            {
                "kbps": point.kbps,
                "frame_rate": point.frame_rate,
                "codebooks": point.codebooks,
                "rank": point.rank,
            }
            for point in sorted(pack.points, key=lambda point: point.kbps)
        ],
    }


def pack_table(pack: PackInfo) -> Table:
    """One row per operating point, lowest rate first; marks say which of them `-b` takes."""
    from rich.table import Table
    from rich.text import Text

    preview = ", preview: may change before 1.0" if pack.status == "preview" else ""
    # As Text, because names and paths may hold what rich would take for markup.
    title = printable(f"{pack.name} {pack.version} ({pack.licence}{preview})")
    table = Table(
        title=Text(title, style="table.title"),
        caption=Text(f"{printable(str(pack.path))}\n{MARKS}", style="table.caption"),
        title_justify="left",
        caption_justify="left",
    )
    for heading in ("rate", "frames/s", "codes", "bits", "tag", "sampler", "steps"):
        table.add_column(heading, justify="left" if heading in {"tag", "sampler"} else "right")
    default = pack.best_within(pack.default_kbps)
    for point in sorted(pack.points, key=lambda point: (point.kbps, point.rank)):
        family = pack.families[point.frame_rate]
        taken = point is pack.best_within(point.kbps)
        mark = "*" if point is default else " " if taken else "+"
        table.add_row(
            f"{kbps(point.kbps)} {mark}",
            str(point.frame_rate),
            str(point.codebooks),
            str(family.bits),
            family.tag.hex(),
            Text(printable(family.sampler)),
            str(family.steps),
        )
    return table
