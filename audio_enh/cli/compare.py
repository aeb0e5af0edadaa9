"""``audio-enh compare``: is one system really better than another?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audio_enh.cli._options import output_option
from audio_enh.cli._terminal import echo
from audio_enh.errors import UserError


def compare(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="Report of evaluate, or its folder.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="Another one; B is compared with A.")],
    system_a: Annotated[
        str | None,
        typer.Option("--system-a", metavar="NAME", show_default=False, help="Where A has several systems."),
    ] = None,
    system_b: Annotated[
        str | None,
        typer.Option("--system-b", metavar="NAME", show_default=False, help="Where B has several systems."),
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare on the files both have, when these are not the same.")
    ] = False,
    output: Annotated[
        Path | None,
        output_option("FILE", "Write it as .json or .md too."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Compare two evaluations file by file.

    \b
    For each metric: the mean difference B - A with its 95 % interval, the share
    of files where B is better (ties count half), and p values by paired bootstrap
    and by Wilcoxon's signed-rank test, the latter also adjusted for the number of
    metrics (Holm). A file counts for a metric when both have a score.
    """
    from rich import box
    from rich.table import Table

    from audio_enh.cli._terminal import console as make_console
    from audio_enh.eval.compare import compare_reports, comparison_table, load_report
    from audio_enh.io.owned import check_replaceable

    if output is not None and output.suffix not in (".json", ".md"):
        raise UserError(f"--output {output}: name a .json or .md file")
    if output is not None:
        check_replaceable([output], overwrite)
    comparison = compare_reports(load_report(a), load_report(b), system_a, system_b, common)
    head, *lines = comparison_table(comparison)
    table = Table(
        title=f"{comparison.files} files",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for index, column in enumerate(head):
        # Numbers are never cut with an ellipsis; on a narrow terminal they fold.
        table.add_column(
            column,
            justify="left" if index == 0 else "right",
            no_wrap=index == 0,
            overflow="fold",
        )
    for line in lines:
        table.add_row(*line)
    console = make_console()
    if not console.is_terminal:
        console.width = max(console.width, 120)
    console.print(table, markup=False)
    for name, count in comparison.without_score.items():
        echo(f"note: {name}: {count} files lack a score in A or B and do not count", err=True)
    for note in comparison.notes:
        echo(f"note: {note}", err=True)
    if output is not None:
        _write(output, comparison.to_json(), head, lines, comparison.notes)


def _write(
    output: Path, data: dict[str, object], head: list[str], lines: list[list[str]], notes: list[str]
) -> None:
    import json

    from audio_enh.eval.report import write_text
    from audio_enh.eval.report.tables import markdown_table, plain

    if output.suffix == ".json":
        text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    else:
        text = "\n\n".join([markdown_table(head, lines), *(f"Note: {plain(note)}." for note in notes)]) + "\n"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, text)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from error
