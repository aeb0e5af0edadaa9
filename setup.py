"""Where the packages are; everything else is in pyproject.toml.

streaming/, eval/, recipes/ and checkpoints/ stand at the top level for the reader, but are imported as
audio_enh.streaming and so on: an installed wheel claims one top-level name.
"""

from setuptools import find_packages, setup

FOLDERS = {
    "audio_enh": "audio_enh",
    "audio_enh.checkpoints": "checkpoints",
    "audio_enh.eval": "eval",
    "audio_enh.recipes": "recipes",
    "audio_enh.streaming": "streaming",
}

setup(
    packages=[
        package
        for name, folder in FOLDERS.items()
        for package in (name, *(f"{name}.{below}" for below in find_packages(folder)))
    ],
    package_dir=FOLDERS,
)
