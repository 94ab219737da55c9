"""Python programs that do HTTPS in three ways:  python -m demo.clients NAME URL SENT

Each request that was answered is a line in the file SENT: its id.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import sys
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

REQUESTS = 5


def numbered(name: str) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """(id, headers, JSON body) of each request."""
    for number in range(1, REQUESTS + 1):
        identity = f"{name}-{number}"
        headers = {"x-request-id": identity, "content-type": "application/json"}
        yield identity, headers, json.dumps({"order": identity, "amount": number}).encode()


def by_http_client(url: str) -> list[str]:
    connection = http.client.HTTPSConnection(urlsplit(url).netloc, context=trusting())
    answered = []
    for identity, headers, body in numbered("http.client"):
        connection.request("POST", f"/echo/orders?id={identity}", body, headers)
        assert connection.getresponse().read() == body
        answered.append(identity)
    connection.close()
    return answered


def by_requests(url: str) -> list[str]:
    import requests
    import urllib3

    urllib3.disable_warnings()
    answered = []
    with requests.Session() as session:
        session.trust_env = False  # no proxy, no certificates of the environment
        session.verify = False
        for identity, headers, _ in numbered("requests"):
            reply = session.get(f"{url}/gzip/{identity}", headers=headers)
            assert reply.json()["hello"] == f"/gzip/{identity}"
            answered.append(identity)
    return answered


def by_asyncio(url: str) -> list[str]:
    """Over HTTP/2: all requests at once, on one connection."""
    import httpx

    async def send() -> list[str]:
        async with httpx.AsyncClient(
            http2=True, verify=trusting(), base_url=url, trust_env=False
        ) as client:

            async def post(identity: str, headers: dict[str, str], body: bytes) -> str:
                reply = await client.put(f"/echo/{identity}", content=body, headers=headers)
                assert (reply.content, reply.http_version) == (body, "HTTP/2")
                return identity

            return list(await asyncio.gather(*(post(*r) for r in numbered("asyncio"))))

    return asyncio.run(send())


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


CLIENTS: dict[str, Callable[[str], list[str]]] = {
    "http.client": by_http_client,
    "requests": by_requests,
    "asyncio": by_asyncio,
}


def main() -> None:
    name, url, sent = sys.argv[1:]
    answered = CLIENTS[name](url)
    with open(sent, "a") as out:
        out.writelines(f"{identity}\n" for identity in answered)


if __name__ == "__main__":
    main()
