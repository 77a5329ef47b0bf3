"""python -I -S stopwatch.py RESULT PROGRAM WORD...: run it, write seconds, processor seconds and peak bytes to RESULT.

A process of its own, because the peak of a process includes the size of its parent at its start: here some 10 MB.
"""

import os
import sys
import time

began = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ), 0)
wall = time.perf_counter() - began
with open(sys.argv[1], "w") as result:
    print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, file=result)
sys.exit(min(255, abs(os.waitstatus_to_exitcode(status))))
