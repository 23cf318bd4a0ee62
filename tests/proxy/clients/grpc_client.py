"""Calls by grpcio, without generated code: ADDRESS CALL..., one line of JSON for each. With CERTIFICATE in the environment
over TLS, to whom that file names in DER.
"""
import json
import os
import queue
import ssl
import sys

import grpc

TRUSTED, NAME = os.environ.get("CERTIFICATE"), "calls.example.org"
PATIENCE = 20


def connect(address, **options):
    if not TRUSTED:
        return grpc.insecure_channel(address, **options)
    with open(TRUSTED, "rb") as file:
        roots = ssl.DER_cert_to_PEM_cert(file.read()).encode()
    credentials = grpc.ssl_channel_credentials(roots)
    return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", NAME)], **options)


def shown(message):
    return message.decode() if len(message) < 100 else len(message)


def outcome(call, messages):
    """What a call came to, once it has."""
    # A proxy says when it answers.
    metadata = lambda items: {key: str(value) for key, value in items or () if key != "date"}
    return {
        "code": call.code().name,
        "details": call.details(),
        "messages": [shown(message) for message in messages],
        "first": metadata(call.initial_metadata()),
        "last": metadata(call.trailing_metadata()),
    }


def one(call):
    """Of a call with one answer."""
    try:
        return outcome(call, [call.result()])
    except (grpc.RpcError, grpc.FutureCancelledError):
        return outcome(call, [])


def many(call, heard=lambda message: None):
    """Of a call with a stream of answers."""
    messages = []
    try:
        for message in call:
            messages.append(message)
            heard(message)
    except grpc.RpcError:
        pass
    return outcome(call, messages)


def unary(channel, method, request=b"hello", timeout=PATIENCE, **options):
    return channel.unary_unary(f"/shop.Shop/{method}").future(request, timeout=timeout, **options)


def talk(channel):
    """Says the next only when the one before has come back."""
    heard = queue.Queue()

    def say():
        for number in range(20):
            yield str(number).encode()
            heard.get(timeout=PATIENCE)

    return many(channel.stream_stream("/shop.Shop/Talk")(say(), timeout=PATIENCE), heard.put)


def half(channel):
    """Says when it has heard the half of it."""
    call = channel.unary_stream("/shop.Shop/Half")(b"", timeout=PATIENCE)
    return many(call, lambda message: print("heard", flush=True))


def cancel(channel):
    call = unary(channel, "Hang")
    # The test says when the server has it.
    sys.stdin.readline()
    call.cancel()
    return one(call)


def together(channel):
    calls = [unary(channel, "Echo", str(number).encode()) for number in range(300)]
    outcomes = [one(call) for call in calls]
    assert all(outcome["code"] == "OK" for outcome in outcomes), outcomes
    return {"messages": [message for outcome in outcomes for message in outcome["messages"]]}


def compressed(channel):
    del channel
    with connect(ADDRESS, compression=grpc.Compression.Gzip) as other:
        return one(unary(other, "Echo", bytes(100_000)))


CALLS = {
    "echo": lambda channel: one(unary(channel, "Echo")),
    "large": lambda channel: one(unary(channel, "Echo", bytes(3 << 20))),
    "compressed": compressed,
    "together": together,
    "remaining": lambda channel: one(unary(channel, "Remaining")),
    "fail": lambda channel: one(unary(channel, "Fail")),
    "unknown": lambda channel: one(unary(channel, "Unknown")),
    "late": lambda channel: one(unary(channel, "Hang", timeout=0.5)),
    "hang": lambda channel: one(unary(channel, "Hang")),
    "cancel": cancel,
    "count": lambda channel: many(channel.unary_stream("/shop.Shop/Count")(b"50", timeout=PATIENCE)),
    "half": half,
    "join": lambda channel: one(
        channel.stream_unary("/shop.Shop/Join").future(iter([b"x" * 50_000] * 20), timeout=PATIENCE)
    ),
    "talk": talk,
}

ADDRESS = sys.argv[1]
with connect(ADDRESS) as usual:
    for name in sys.argv[2:]:
        print(json.dumps(CALLS[name](usual)), flush=True)
