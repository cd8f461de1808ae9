"""A stand-in for S3 and Google Cloud Storage: as much of both as DALI's readers ask for, out of a folder.

python object_store.py FOLDER prints its port and serves FOLDER as the one bucket "bucket", until it is killed. It is a
process of its own, for DALI holds the GIL while it builds a pipeline.
"""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

FOLDER = Path(sys.argv[1]) if __name__ == "__main__" else Path()
S3, GCS = re.compile("/bucket/(.+)"), re.compile("/storage/v1/b/bucket/o/(.+)")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits 40 ms
    wbufsize = -1

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        found = S3.fullmatch(url.path) or GCS.fullmatch(url.path)
        path = FOLDER / unquote(found[1]) if found else None
        if path is None or not path.is_file():
            self.answer(404, b"")
        elif found.re is GCS and "alt=media" not in url.query:
            about = {"name": unquote(found[1]), "bucket": "bucket", "size": str(path.stat().st_size), "generation": "1"}
            self.answer(200, json.dumps(about).encode(), {"Content-Type": "application/json"})
        else:
            self.send_file(path.read_bytes())

    do_HEAD = do_GET

    def send_file(self, content: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return self.answer(200, content)
        start, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        self.answer(206, content[start : last + 1], {"Content-Range": f"bytes {start}-{last}/{len(content)}"})

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "ETag": '"1"', **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
