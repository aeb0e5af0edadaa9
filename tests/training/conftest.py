import pytest

from audio_enh.training import recipes


@pytest.fixture(scope="session")
def debug_run(tmp_path_factory):
    """The debug recipe, run once for all tests: its output folder."""
    out = tmp_path_factory.mktemp("debug")
    recipes.train(
        ["experiment=debug", f"out={out}", f"export={out / 'model'}", f"data.cache={out / 'cache'}"]
    )
    return out


@pytest.fixture
def small_network():
    """Overrides that make an experiment's network small enough for a step in a test."""
    with_ncsnpp = ("sgmse_", "bbed_", "sb_", "flow_")

    def overrides(experiment: str) -> list[str]:
        if experiment.startswith("universe"):
            small = ["model.channels=2", "model.mel_bands=16", "model.embedding_dimensions=16"]
            return small + ["objective.discriminators.width=0.05"] * experiment.startswith("universepp")
        if experiment == "demucs_vbdmd":
            return ["model.hidden=4"]
        if experiment.startswith(with_ncsnpp) and experiment != "sgmse_lite":
            return ["+model.network.channels=8", "+model.network.blocks=1"]
        return []

    return overrides
