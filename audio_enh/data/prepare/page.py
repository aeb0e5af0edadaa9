"""``docs/data_splits.md``, made from the rules: ``python -m audio_enh.data.prepare.page > docs/data_splits.md``."""

from __future__ import annotations

import sys

from audio_enh.data.prepare.corpora import CORPORA
from audio_enh.data.prepare.groups import Rule

_HEAD = """# How the data of each collection is split
Made from the rules of `audio-enh data prepare` by `python -m audio_enh.data.prepare.page`; do not edit.

A group is whatever a model must not have heard in training when it is validated or tested: a voice, a recording
of which files are slices, a room. All files of a group are on one side, and the manifest's column `group` names it.
"Hash" is a number from the group's name alone, so that a group is on the same side in every copy, however much of the
collection is there.

A folder of your own (`prepare folder`) is split by its first folders below the one that holds everything, or by what
`--group PATTERN` finds in the path. Folders called train, dev, valid, val, test or eval are sides and kept. A folder
in which files lie side by side has no groups: it is refused until `--group` names them. Of two groups and more, one
at least is for validation.
"""


def splits_page() -> str:
    """The page, Markdown."""
    parts = [_HEAD]
    for name, corpus in CORPORA.items():
        parts.append(f"\n## `{name}`: {corpus.title}\n")
        parts.append(f"{corpus.home}\n")
        if corpus.remarks:
            parts.append(f"\n{corpus.remarks}\n")
        parts.append(
            "\n| kind | kept together | such as | is of | valid | test |\n|---|---|---|---|---|---|\n"
        )
        parts += [_row(rule) for rule in corpus.rules]
    return "".join(parts)


def _row(rule: Rule) -> str:
    found = rule.find(rule.example)
    assert found is not None, rule.example
    cells = (
        rule.kind,
        rule.what,
        f"`{rule.example}`",
        f"`{found[0]}`",
        _side(rule, "valid"),
        _side(rule, "test"),
    )
    return f"| {' | '.join(cells)} |\n"


def _side(rule: Rule, side: str) -> str:
    listed = rule.valid if side == "valid" else rule.test
    texts = [f"`{part}`" for part, where in rule.subsets.items() if where == side]
    texts += [f"{listed[0]} to {listed[-1]}"] if len(listed) > 3 else list(listed)
    if side == "valid" and rule.share:
        texts.append(f"{rule.share:.0%} by hash")
    return ", ".join(texts)


if __name__ == "__main__":
    sys.stdout.write(splits_page())
