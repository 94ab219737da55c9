"""HTTPS requests at a steady rate over a few connections, each with its own path, from a process of
its own:   python -m tests.support.paced_traffic PORT RATE SECONDS

Ends early on SIGTERM, between two requests; then says how many it has sent.
"""

from __future__ import annotations

import http.client
import itertools
import signal
import ssl
import sys
import threading
import time

CONNECTIONS = 8


def main() -> int:
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    numbers = itertools.count(1)
    pace = CONNECTIONS / rate
    workers = [
        threading.Thread(target=_speak, args=(port, numbers, pace, stopping))
        for _ in range(CONNECTIONS)
    ]
    for worker in workers:
        worker.start()
    stopping.wait(seconds)
    stopping.set()
    for worker in workers:
        worker.join()
    sys.stdout.write(f"{next(numbers) - 1}\n")
    return 0


def _speak(port: int, numbers: itertools.count[int], pace: float, stop: threading.Event) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
    due = time.monotonic()
    while not stop.is_set():
        connection.request("GET", f"/{next(numbers)}")
        connection.getresponse().read()
        due += pace
        time.sleep(max(0.0, due - time.monotonic()))
    connection.close()


if __name__ == "__main__":
    sys.exit(main())
