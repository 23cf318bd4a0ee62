"""Asks for another handshake within a session of TLS 1.2, by tlslite-ng: ADDRESS TIMES. Says what comes of each."""
import socket
import sys

from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.constants import AlertDescription, CipherSuite, ContentType
from tlslite.errors import TLSAbruptCloseError
from tlslite.messages import ClientHello

(host, port), times = sys.argv[1].split(":"), int(sys.argv[2])
connection = TLSConnection(socket.create_connection((host, int(port)), 20))
settings = HandshakeSettings()
settings.maxVersion = (3, 3)
connection.handshakeClientCert(settings=settings, serverName="a.example.org")

SUITES = [CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]


def record():
    """The next record's kind and bytes, decrypted."""
    for result in connection._recordLayer.recvRecord():
        if result not in (0, 1):
            header, parser = result
            return header.type, bytes(parser.bytes)


for _ in range(times):
    hello = ClientHello().create((3, 3), bytearray(32), bytearray(), SUITES)
    for _ in connection._sendMsg(hello):
        pass
    try:
        kind, content = record()
        assert kind == ContentType.alert, (kind, content)
        print(["", "warning", "fatal"][content[0]], AlertDescription.toStr(content[1]))
    except (TLSAbruptCloseError, ConnectionError):
        print("closed")
