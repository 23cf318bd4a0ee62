"""WebSockets by websockets: URL CASE..., one line of JSON for what each came to."""
import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

URL, *NAMES = sys.argv[1:]

SIZES = [0, 1, 125, 126, 65535, 65536, 5 << 20]


def opened(**options):
    if URL.startswith("wss"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        options |= {"ssl": context, "server_hostname": "a.example.org"}
    return connect(URL, max_size=None, proxy=None, **options)


async def closed(socket):
    await socket.wait_closed()
    return [socket.close_code, socket.close_reason]


async def sizes(compression):
    async with opened(compression=compression) as socket:
        echoed = []
        for size in SIZES:
            for data in (bytes(number * 131 % 251 for number in range(size)), "é" * (size // 2)):
                await socket.send(data)
                echoed.append(len(data) if await socket.recv() == data else "other bytes")
        await socket.close()
        return {"extensions": [one.name for one in socket.protocol.extensions], "echoed": echoed, "closed": await closed(socket)}


async def plain():
    return await sizes(None)


async def compressed():
    return await sizes("deflate")


async def fragments():
    """Sent in parts, and a ping in between, as RFC 6455, 5.4 allows."""
    async with opened() as socket:
        pongs = []

        async def parts():
            for part in range(100):
                yield bytes([part]) * 1000
                if part % 10 == 5:
                    pongs.append(await (await socket.ping(f"between {part}")) >= 0)

        await socket.send(parts())
        return {"length": len(await socket.recv()), "pongs": pongs}


async def pings():
    async with opened() as socket:
        await socket.send("ping there")
        return {"said": await socket.recv()}


async def head():
    async with opened(additional_headers={"X-Said": "this"}, subprotocols=["chat.v1", "chat.v2"]) as socket:
        await socket.send("head")
        return {"head": await socket.recv(), "protocol": socket.subprotocol}


async def closes():
    ends = []
    for code in (1000, 1001, 1011, 3000, 4999):
        async with opened() as socket:
            await socket.send(f"close {code}")
            ends.append(await closed(socket))
    return {"ends": ends}


async def dies():
    """The server, without a word."""
    async with opened() as socket:
        await socket.send("die")
        return {"closed": await closed(socket)}


async def refused():
    """What is too long, whose refusal arrives."""
    async with opened() as socket:
        try:
            await socket.send(bytes((8 << 20) + 1))
        except ConnectionClosed:
            pass
        return {"closed": (await closed(socket))[0]}


async def poured():
    """Read slowly at first, it comes whole and in order."""
    async with opened(max_queue=1, compression=None) as socket:
        await socket.send("pour 2000")
        await asyncio.sleep(0.5)
        for number in range(2000):
            if await socket.recv() != number.to_bytes(4, "big") * 4096:
                return {"other": number}
        return {"messages": 2000}


async def together():
    async def each(number):
        async with opened() as socket:
            for turn in range(10):
                await socket.send(f"{number} {turn}")
                assert await socket.recv() == f"{number} {turn}"
            return 10

    return {"echoed": sum(await asyncio.gather(*map(each, range(100))))}


async def main():
    for name in NAMES:
        print(json.dumps(await globals()[name]()), flush=True)


asyncio.run(main())
