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
