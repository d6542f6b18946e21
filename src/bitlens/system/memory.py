"""How the process treats memory that was freed: on Linux, large blocks go back to the system and are faulted in again.

A network's intermediate results are such blocks, allocated and freed in every pass; filling their pages anew costs about
a tenth of the time of a float32 pass on a CPU (benchmarks/speed.py --keep-memory yes|no).
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of the GNU C library
_LARGEST = 2**31 - 1
_MMAP_FROM = 2**30


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next pass. It holds on to its peak until it ends.

    Meant for programs, not for libraries: it changes the whole process. The command line calls it.

    Returns:
        Whether the C library knows how (the GNU C library does).
    """
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    return bool(set_option(_M_MMAP_THRESHOLD, _MMAP_FROM) and set_option(_M_TRIM_THRESHOLD, _LARGEST))
