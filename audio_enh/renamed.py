"""Modules that have moved: their old names go on working for one release, with a warning.

Recipes and states of earlier runs, checkpoints and programs of users name modules. An old name gives the very module
of the new one, so that classes are the same by whichever name they were found.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

#: Old name to new name.
MODULES = {
    "audio_enh.data.channels": "audio_enh.sources.channels",
    "audio_enh.data.folders": "audio_enh.sources.folders",
    "audio_enh.data.packed": "audio_enh.sources.packed",
    "audio_enh.data.packing": "audio_enh.sources.packing",
    "audio_enh.data.rooms": "audio_enh.sources.rooms",
    "audio_enh.diffusion.central_times": "audio_enh.diffusion.training_times",
    "audio_enh.diffusion.sampling": "audio_enh.diffusion.times",
    "audio_enh.distortions.signals": "audio_enh.dsp.signals",
    "audio_enh.inference.generative": "audio_enh.inference.draws",
    "audio_enh.models.causal_demucs": "audio_enh.models.demucs.causal",
    "audio_enh.models.lite": "audio_enh.models.diffusion.lite",
    "audio_enh.models.ncsnpp": "audio_enh.models.diffusion.ncsnpp",
    "audio_enh.models.ncsnpp_import": "audio_enh.models.diffusion.reference",
    "audio_enh.models.sinc": "audio_enh.models.demucs.sinc",
    "audio_enh.models.streaming_conv": "audio_enh.models.demucs.streaming_conv",
    **{
        f"audio_enh.models.universe_{name}": f"audio_enh.models.universe.{name}"
        for name in ("blocks", "condition", "discriminators", "heads", "mel", "score")
    },
    "audio_enh.models.universe_import": "audio_enh.models.universe.reference",
}


def present_name(name: str) -> str:
    """The name of today for the dotted name of a module, or of something in one."""
    module, _, rest = name.rpartition(".")
    if name in MODULES:
        return MODULES[name]
    return f"{MODULES[module]}.{rest}" if module in MODULES else name


class _Redirect(MetaPathFinder, Loader):
    """Finds the new module for an old name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MODULES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = MODULES[spec.name]
        warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state  # the import system has put the old name's there


def install() -> None:
    """Let old names be imported."""
    if not any(isinstance(finder, _Redirect) for finder in sys.meta_path):
        sys.meta_path.append(_Redirect())
