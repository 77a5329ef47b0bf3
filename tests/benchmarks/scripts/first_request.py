"""Start a fetch and end with its first request: python -X importtime first_request.py ROOT"""

import os
import runpy
import sys


def end_at_first_request(event: str, _arguments: tuple[object, ...]) -> None:
    """End the process before anything is sent."""
    if event == "socket.connect":
        os._exit(0)


sys.addaudithook(end_at_first_request)
sys.argv = ["fmnist-fetch", "fetch", "--root", sys.argv[1], "--mirror", "http://127.0.0.1:9/", "--only-mirrors"]
runpy.run_module("fmnist_fetch", run_name="__main__", alter_sys=True)
