"""A Ray cluster on this machine for tests: small, quiet, with nothing that listens to the outside."""

import logging
import os
from contextlib import contextmanager

from bitlens.workers.cluster import _QUIET


@contextmanager
def started_ray(cores: int, attempts: int = 5):
    os.environ.update(_QUIET)
    import ray

    for left in reversed(range(attempts)):
        try:
            ray.init(
                "local", num_cpus=cores, include_dashboard=False, object_store_memory=2**28, log_to_driver=False,
                logging_level=logging.ERROR,
            )  # fmt: skip
            break
        except Exception:  # Ray gives itself half a minute to start, which a busy machine may not
            ray.shutdown()
            if not left:
                raise
    try:
        yield ray
    finally:
        ray.shutdown()
