"""A WebSocket server of websockets. Says its address, and then how each connection ends; does what messages ask for, else echoes."""
import asyncio
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def answer(socket, message):
    word, _, argument = message.partition(" ") if isinstance(message, str) and len(message) < 100 else ("", "", "")
    match word:
        case "close":
            await socket.close(int(argument), "as you like")
        case "die":
            socket.transport.abort()
        case "ping":
            await (await socket.ping(argument))
            await socket.send(f"pong {argument}")
        case "head":
            await socket.send(f"{socket.request.path} {socket.request.headers['x-said']}")
        case "pour":
            # More than any buffer on the way holds.
            for number in range(int(argument)):
                await socket.send(number.to_bytes(4, "big") * 4096)
        case _:
            await socket.send(message)


async def handle(socket):
    try:
        async for message in socket:
            await answer(socket, message)
    except ConnectionClosed:
        pass
    await socket.wait_closed()
    print(f"closed {socket.close_code} {socket.close_reason}", flush=True)


def protocol(_socket, offered):
    return "chat.v2" if "chat.v2" in offered else None


async def main():
    async with serve(handle, "127.0.0.1", 0, max_size=8 << 20, select_subprotocol=protocol) as server:
        host, port = server.sockets[0].getsockname()
        print(f"{host}:{port}", flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
