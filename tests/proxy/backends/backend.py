"""Counts the requests that it sees, and those to /smuggled; says how many."""
import http.server
import itertools
import sys

# One step, whichever threads take it.
COUNT = itertools.count(1)
SMUGGLED = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        if self.path == "/smuggled":
            SMUGGLED.append(self)
        seen = f"{next(COUNT)} {len(SMUGGLED)}".encode()
        self.take_body()
        self.send_response(200)
        self.send_header("Content-Length", str(len(seen)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(seen)

    def take_body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                self.rfile.read(size + 2)
            while self.rfile.readline().strip():
                pass
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *arguments):
        """Bodies that break off are no news."""


host, port = sys.argv[1].split(":")
Server((host, int(port)), Handler).serve_forever()
