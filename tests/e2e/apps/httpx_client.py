"""Sends plans with httpx over HTTP/2: a connection a plan, one request after the other, all plans
at once.

python -m tests.e2e.apps.httpx_client PORT LOG PLAN...
"""

from __future__ import annotations

import httpx

from tests.support import plans


async def send(port: int, planned: list[plans.Planned]) -> list[str]:
    lines = []
    async with httpx.AsyncClient(
        http1=False, http2=True, verify=False, trust_env=False, timeout=60
    ) as client:
        for request in planned:
            url = f"https://127.0.0.1:{port}{request.target}"
            async with client.stream(
                request.method, url, content=request.body, headers=request.headers
            ) as response:
                headers = [(k.decode(), v.decode()) for k, v in response.headers.raw]
                body = b"".join([part async for part in response.aiter_raw()])
                lines.append(plans.answered(request, response.status_code, headers, body))
    return lines


if __name__ == "__main__":
    plans.send_all(send)
