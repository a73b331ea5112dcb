"""Ask servers and say what came back; how the lab itself sees whether its applications answer.

Usage: ask.py FLOW...  where FLOW is http://HOST:PORT/PATH, lines://HOST:PORT, banner://HOST:PORT,
connect://HOST:PORT or dns://NAME. Prints a JSON list with one object for each flow, in order.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

TIMEOUT = 3.0


def ask(flow: str) -> dict[str, object]:
    """What one exchange gave: `ok` with the answer, or the error that ended it."""
    url = urlsplit(flow)
    host, port = url.hostname or "", url.port or 0
    try:
        if url.scheme == "dns":
            answer = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None)})[0]
            return {"flow": flow, "ok": True, "answer": answer}
        if url.scheme == "http":
            connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request("GET", target, headers={"connection": "close"})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            return {"flow": flow, "ok": response.status == 200, "answer": text.strip()}
        with socket.create_connection((host, port), timeout=TIMEOUT) as peer:
            if url.scheme == "connect":
                return {"flow": flow, "ok": True, "answer": "connected"}
            if url.scheme == "lines":
                peer.sendall(b"ping\n")
            answer = peer.recv(4096).decode(errors="replace").strip()
            return {"flow": flow, "ok": bool(answer), "answer": answer}
    except (OSError, http.client.HTTPException) as error:
        return {"flow": flow, "ok": False, "answer": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    with ThreadPoolExecutor(max_workers=16) as pool:
        print(json.dumps(list(pool.map(ask, sys.argv[1:]))))
