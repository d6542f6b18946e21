"""A cluster that is there, or one on this machine; how its cores and GPUs become workers."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bitlens.errors import ClusterError, SettingError
from bitlens.system.optional import need
from bitlens.workers.carrying import Workers, first_line, load_ray

_CORES = 4  # of a worker without a GPU, unless their number is given
_STORE = 2**30  # bytes of shared memory on this machine, for what is on its way
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # it tells of dead workers on standard output, which is for answers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def open_workers(address: str, count: int | None = None, device: str = "auto") -> Iterator[Workers]:
    """Reach a Ray cluster, or start one on this machine; left as it was found after the block.

    Args:
        address: `ray` for the cluster that this machine belongs to (or `RAY_ADDRESS` names), else one on this machine
            for as long as the block lasts; `ray://HOST:PORT` for another's Ray Client port.
        count: of processes; by default one for each GPU, or for every four cores where there are none.
        device: "auto", "cpu" or "cuda".

    Raises:
        DependencyError: Ray is not installed, or not its client.
        SettingError: the address is of no known form, or the cluster has not as many GPUs or cores.
        ClusterError: no cluster answers.
    """
    if address != "ray" and not address.startswith("ray://"):
        raise SettingError(f"--cluster {address}: expected ray, or ray://HOST:PORT of a cluster's Ray Client")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)  # read when Ray is imported
    ray = load_ray()
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what matters is raised
    mine = not ray.is_initialized()
    if mine:
        _connect(ray, address)
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        chosen, cores, kind = share_out(machines, count, device)
        yield Workers(chosen, cores, kind, client=need("ray.util.client", "cluster").ray.is_connected())
    finally:
        if mine:
            ray.shutdown()


def share_out(machines: Sequence[Mapping[str, float]], count: int | None, device: str) -> tuple[int, int, str]:
    """Return how many workers there are going to be, with how many cores each, on which device.

    Args:
        machines: CPU and GPU of each.
        count: of workers, if a person has said so.
        device: "auto", "cpu" or "cuda".

    Raises:
        SettingError: there are not as many GPUs or cores.
    """
    shares = [(int(machine.get("CPU", 0)), int(machine.get("GPU", 0))) for machine in machines]
    gpus = sum(gpu for _, gpu in shares)
    if device == "cuda" or (device == "auto" and gpus):
        _check_enough(count, gpus, "GPU")
        return count or gpus, min(cpu // gpu for cpu, gpu in shares if gpu), "cuda"
    total = sum(cpu for cpu, _ in shares)
    _check_enough(count, total, "core")
    if count is None:
        cores = min(_CORES, max(cpu for cpu, _ in shares))
        return sum(cpu // cores for cpu, _ in shares), cores, "cpu"
    cores = next(c for c in range(total // count, 0, -1) if sum(cpu // c for cpu, _ in shares) >= count)
    return count, cores, "cpu"


def _check_enough(count: int | None, total: int, what: str) -> None:
    if not total or (count is not None and count > total):
        wanted = f"--workers {count}" if total else f"a worker for each {what}"
        raise SettingError(
            f"{wanted}: the cluster has {total} {what}{'' if total == 1 else 's'}, and each worker takes one"
        )


def _connect(ray: Any, address: str) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address != "ray":
        need("grpc", "cluster")  # what Ray Client talks through
    try:
        if address != "ray" or "RAY_ADDRESS" in os.environ:
            ray.init("auto" if address == "ray" else address, **quiet)
            return
        try:
            ray.init("auto", **quiet)
        except ConnectionError:  # there is none yet
            ray.init("local", include_dashboard=False, object_store_memory=_STORE, **quiet)
    except Exception as error:  # of any kind: Ray raises bare ones, too
        raise ClusterError(f"--cluster {address}: no Ray cluster answers ({first_line(error)})") from error
