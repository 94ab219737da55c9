"""Sends plans with aiohttp: a connection a plan, all plans at once.

python -m tests.e2e.apps.aiohttp_client PORT LOG PLAN...
"""

from __future__ import annotations

import aiohttp

from tests.support import plans


async def send(port: int, planned: list[plans.Planned]) -> list[str]:
    connector = aiohttp.TCPConnector(limit=1, ssl=False)
    lines = []
    async with aiohttp.ClientSession(
        f"https://127.0.0.1:{port}", connector=connector, auto_decompress=False
    ) as session:
        for request in planned:
            async with session.request(
                request.method, request.target, data=request.body or None, headers=request.headers
            ) as response:
                headers = [(k.decode(), v.decode()) for k, v in response.raw_headers]
                body = await response.read()
                lines.append(plans.answered(request, response.status, headers, body))
    return lines


if __name__ == "__main__":
    plans.send_all(send)
