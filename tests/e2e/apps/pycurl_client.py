"""Sends a plan with pycurl, whose wheel brings its own libcurl and libssl, over one connection.

python -m tests.e2e.apps.pycurl_client PORT LOG PLAN          or --wait, until stdin ends
"""

from __future__ import annotations

import base64
import json
import sys
from io import BytesIO

import pycurl

from tests.support import plans


def answered(curl: pycurl.Curl, port: str, planned: plans.Planned) -> bytes:
    got = BytesIO()
    curl.reset()
    curl.setopt(pycurl.URL, f"https://127.0.0.1:{port}{planned.target}")
    curl.setopt(pycurl.CUSTOMREQUEST, planned.method)
    curl.setopt(pycurl.HTTPHEADER, [*(f"{n}: {v}" for n, v in planned.headers), "expect:"])
    curl.setopt(pycurl.SSL_VERIFYPEER, 0)
    curl.setopt(pycurl.SSL_VERIFYHOST, 0)
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.WRITEDATA, got)
    if planned.body:
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.POSTFIELDSIZE_LARGE, len(planned.body))
        curl.setopt(pycurl.READDATA, BytesIO(planned.body))
    curl.perform()
    return got.getvalue()


def main() -> None:
    if sys.argv[1] == "--wait":
        sys.stdin.read()
        return
    port, log, path = sys.argv[1:]
    curl = pycurl.Curl()
    with open(log, "a") as out:
        for planned in plans.read(path):
            body = base64.b64encode(answered(curl, port, planned)).decode()
            row = [planned.id, curl.getinfo(pycurl.RESPONSE_CODE), body]
            out.write(json.dumps(row) + "\n")
    curl.close()


if __name__ == "__main__":
    main()
