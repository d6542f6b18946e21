"""The same work in many processes, on this machine or on a cluster: Ray Data carries items to actors, and answers back.

Ray replaces a process that dies and repeats what it was doing. A ledger remembers which item each process is at, so an item
that takes process after process along is given up, and only that one. A run on one process imports nothing of this.
"""

from bitlens.workers.actor import Lost
from bitlens.workers.carrying import Prepare, Workers
from bitlens.workers.cluster import open_workers, share_out

__all__ = ["Lost", "Prepare", "Workers", "open_workers", "share_out"]
