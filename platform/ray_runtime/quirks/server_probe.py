"""The question whether a server is Ray, to which `ray.init` waits for an answer without a limit."""

from __future__ import annotations

METHOD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""Method of the GCS, the server that a command joins, which takes an empty message."""


def is_ray(host: str, port: int, seconds: float, is_client_server: bool = False) -> bool:
    """Return whether a server answers as Ray does.

    The connection is encrypted, and carries a token, where Ray's connections do.

    Args:
        host: host name or address of the server.
        port: port of the server.
        seconds: longest wait for the answer.
        is_client_server: whether the server should be the server of Ray's client (ray://), which
            does not know `METHOD`; then any answer by gRPC will do, because the client has limits
            of its own.
    """
    import grpc
    from ray._private.grpc_utils import init_grpc_channel

    literal = f"[{host}]" if ":" in host else host
    channel = init_grpc_channel(f"{literal}:{port}")
    try:
        channel.unary_unary(METHOD)(b"", timeout=seconds, wait_for_ready=True)
    except grpc.RpcError as error:
        code = error.code()
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return is_client_server
        return bool(code is grpc.StatusCode.UNAUTHENTICATED)  # `ray.init` says what is wrong
    finally:
        channel.close()
    return True
