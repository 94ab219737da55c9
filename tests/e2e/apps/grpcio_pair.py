"""A server and a client of grpcio's, over TLS within one process: 23 calls, then one for each line
on stdin. Says `done` after the 23 and after each other answer.

    grpcio_pair.py CERTIFICATE KEY
"""

from __future__ import annotations

import sys
from concurrent import futures
from pathlib import Path

import grpc


class Echo(grpc.GenericRpcHandler):
    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request[::-1])


def main(certificate: str, key: str) -> None:
    chain, secret = Path(certificate).read_bytes(), Path(key).read_bytes()
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(Echo(),))
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(secret, chain)]))
    server.start()
    trusted = grpc.ssl_channel_credentials(chain)
    with grpc.secure_channel(f"localhost:{port}", trusted) as channel:
        call = channel.unary_unary("/echo/Call")
        for number in range(23):
            assert call(b"ping-%d" % number) == (b"ping-%d" % number)[::-1]
        print("done", flush=True)
        for line in sys.stdin:
            assert call(line.encode()) == line.encode()[::-1]
            print("done", flush=True)
    server.stop(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
