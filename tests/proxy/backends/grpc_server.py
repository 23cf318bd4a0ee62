"""A gRPC server of grpcio, without generated code. Says its address, then who hangs and who is cancelled."""
import sys
import threading
from concurrent import futures

import grpc


def say(line):
    print(line, flush=True)


def echo(request, context):
    context.send_initial_metadata((("x-first", "one"),))
    context.set_trailing_metadata((("x-last", "two"), ("x-last-bin", b"\x00\xff")))
    return request


def remaining(request, context):
    return str(context.time_remaining()).encode()


def fail(request, context):
    context.set_trailing_metadata((("x-reason", "empty"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "kein Stück: 100 %")


def hang(request, context):
    over = threading.Event()
    context.add_callback(over.set)
    say("hangs")
    over.wait()
    say("cancelled")
    return b""


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def half(request, context):
    yield b"half"
    hang(request, context)


def join(requests, context):
    return b"".join(requests)


def talk(requests, context):
    yield from requests


HANDLERS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Half": grpc.unary_stream_rpc_method_handler(half),
    "Join": grpc.stream_unary_rpc_method_handler(join),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
}

server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Shop", HANDLERS),))
say(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
server.start()
sys.stdin.read()
