"""From a downloaded collection to a trained model: what `data prepare` writes is what the recipes read."""

from importlib.resources import files
from pathlib import Path

import soundfile

from audio_enh.cli import run
from audio_enh.training import recipes

SAMPLES = Path(str(files("audio_enh") / "samples"))


def test_voicebank_demand_from_download_to_weights(tmp_path):
    """Real speech under the collection's names; speakers p226 and p287 validate."""
    for side in ("clean", "noisy"):
        for i, path in enumerate(sorted((SAMPLES / side).iterdir())):
            speaker = ("p226", "p287", "p228", "p230", "p232")[i]
            stem = "testset_wav" if speaker == "p232" else "trainset_28spk_wav"
            audio, rate = soundfile.read(path)
            target = tmp_path / "download" / f"{side}_{stem}" / f"{speaker}_001.wav"
            target.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(target, audio, rate)
    data = tmp_path / "data"
    assert (
        run(["data", "prepare", "vbdmd", str(tmp_path / "download"), "-o", str(data), "--allow-incomplete"])
        == 0
    )
    recipes.train(
        [
            *("experiment=sgmse_vbdmd", f"manifest={data / 'manifest.csv'}", f"out={tmp_path / 'run'}"),
            *("trainer=debug", "trainer.max_steps=2", "trainer.accumulate_grad_batches=1"),
            *("data.batch_size=1", "data.steps_per_epoch=2", "data.workers=0", "data.seconds=0.5"),
            *("data.valid_seconds=1.0", f"data.cache={tmp_path / 'cache'}", "model.sampler.steps=2"),
            *("+model.network.channels=8", "+model.network.multipliers=[1,1]", "+model.network.blocks=1"),
        ]
    )
    assert (tmp_path / "run" / "weights" / "last.ckpt").exists()
