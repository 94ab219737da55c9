"""Sends plans with aiohttp: a connection a plan, all plans at once.

python -m tests.e2e.apps.aiohttp_client PORT LOG PLAN...
"""

from __future__ import annotations

import asyncio
import sys

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


async def send_all(port: int, paths: list[str]) -> list[str]:
    async with asyncio.TaskGroup() as tasks:
        sending = [tasks.create_task(send(port, plans.read(path))) for path in paths]
    return [line for task in sending for line in task.result()]


def main() -> None:
    port, log, *paths = sys.argv[1:]
    with open(log, "a") as out:
        out.writelines(asyncio.run(send_all(int(port), paths)))


if __name__ == "__main__":
    main()
