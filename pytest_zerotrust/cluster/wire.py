"""How bytes go to an API server: one pool of keep-alive connections, shared by all threads.

Nothing is retried and no redirect followed: whoever asks decides. urllib3 is used as it is, since
a session of requests takes more processor time for a call than all else that is done for it.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests.utils
import urllib3

from pytest_zerotrust.cluster.connection import Connection

FAILURES = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
"""What a request may raise if no whole answer came."""

POOLED = 32
"""Connections that are kept open. More threads than that may ask; theirs are closed after use."""


class Wire:
    """Requests to the server of one connection. Safe to share between threads.

    Raises OSError if a TLS file of the connection is not there.
    """

    def __init__(self, connection: Connection) -> None:
        self._server = connection.server
        self._pool = _pool(connection)

    def send(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: tuple[float, float],
    ) -> urllib3.BaseHTTPResponse:
        """The whole answer to one request. ``target`` is the path with its query; ``timeout`` are
        seconds to connect and between two reads. Raises one of ``FAILURES``."""
        connect, read = timeout
        return self._pool.urlopen(
            method,
            self._server + target,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(connect=connect, read=read),
            retries=False,
            redirect=False,
        )


def _pool(connection: Connection) -> urllib3.PoolManager:
    settings: dict[str, Any] = {"num_pools": 2, "maxsize": POOLED}
    if connection.server.startswith("https:"):
        settings |= _tls(connection)
    proxy = connection.proxy or _proxy_of_environment(connection.server)
    if not proxy:
        return urllib3.PoolManager(**settings)
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    user, password = requests.utils.get_auth_from_url(proxy)
    told = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if user else None
    return urllib3.ProxyManager(proxy, proxy_headers=told, **settings)


def _proxy_of_environment(server: str) -> str | None:
    proxies = requests.utils.get_environ_proxies(server)
    return requests.utils.select_proxy(server, proxies)


def _tls(connection: Connection) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if connection.verify:
        authorities = connection.ca_file or requests.utils.DEFAULT_CA_BUNDLE_PATH
        settings |= {"cert_reqs": "CERT_REQUIRED", "ca_certs": _there(authorities)}
    else:
        settings |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
    if connection.client_cert:
        certificate, key = map(_there, connection.client_cert)
        settings |= {"cert_file": certificate, "key_file": key}
    name = connection.tls_server_name
    if name:
        # The name that the kubeconfig demands need not be the host's.
        settings |= {"server_hostname": name}
        if connection.verify:
            settings |= {"assert_hostname": name}
    return settings


def _there(file: str) -> str:
    if not Path(file).exists():
        raise OSError(f"{file}: no such file")
    return file
