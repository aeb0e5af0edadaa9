"""A launcher whose jobs run in another process, as those for clusters do; where Hydra wants its plugins to be."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from hydra.core.utils import run_job, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import open_dict


class OtherProcess(Launcher):
    """Runs each job in a Python of its own, as launchers for clusters do."""

    def setup(self, *, hydra_context, task_function, config):
        self.context, self.function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            jobs = [
                pool.submit(one_job, self.context, self.function, self.config, list(overrides), number)
                for number, overrides in enumerate(job_overrides, initial_job_idx)
            ]
            return [job.result() for job in jobs]


def one_job(context, function, config, overrides, number):
    setup_globals()
    with open_dict(config):
        sweep = context.config_loader.load_sweep_config(config, overrides)
        sweep.hydra.job.id = sweep.hydra.job.num = number
    return run_job(function, sweep, "hydra.sweep.dir", "hydra.sweep.subdir", context)
