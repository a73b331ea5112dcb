"""From a kubeconfig (or a pod's own credentials) to a connection: server, TLS files, credentials.

The kubernetes client reads the configuration (contexts, exec plugins, token refresh); requests and
exec go over plain HTTP libraries with explicit time-outs, see ``api`` and ``exec``.
"""

from __future__ import annotations

import threading
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_zerotrust.errors import ClusterProblem

if TYPE_CHECKING:
    from kubernetes.client import Configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Which cluster the user asked for. Exactly one of ``kubeconfig`` and ``in_cluster`` is set."""

    kubeconfig: str | None = None
    context: str | None = None
    in_cluster: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Everything needed to talk to one API server. Secrets are read on demand, never shown."""

    server: str
    context: str
    ca_file: str | None
    verify: bool
    client_cert: tuple[str, str] | None
    tls_server_name: str | None
    proxy: str | None
    _configuration: Configuration = field(repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def authorization(self) -> str | None:
        """Return the Authorization header's value, refreshed if it was about to expire."""
        with self._lock:
            settings: Any = self._configuration.auth_settings()
            value = settings.get("BearerToken", {}).get("value")
            if value:
                return str(value)
            if getattr(self._configuration, "username", None):
                return str(self._configuration.get_basic_auth_token())
            return None


def open_connection(options: ClusterOptions) -> Connection:
    """Load credentials. Nothing is sent yet.

    Raises ClusterProblem for a missing or malformed kubeconfig and for an unknown context.
    """
    from kubernetes.client import Configuration

    configuration = Configuration()
    # The library's default is a server on this machine, which nobody asked for.
    configuration.host = ""
    if options.in_cluster:
        context = _load_in_cluster(configuration)
    else:
        context = _load_kubeconfig(configuration, options)
    cert = (configuration.cert_file, configuration.key_file)
    if not str(configuration.host).startswith(("https://", "http://")):
        raise ClusterProblem(
            f"context {context}: its cluster has no usable server (found {configuration.host!r}). "
            f"Give it one like https://host:6443 in the kubeconfig."
        )
    _refuse_proxy(configuration.proxy, context)
    return Connection(
        server=str(configuration.host).rstrip("/"),
        context=context,
        ca_file=configuration.ssl_ca_cert,
        verify=bool(configuration.verify_ssl),
        client_cert=cert if all(cert) else None,
        tls_server_name=configuration.tls_server_name,
        proxy=configuration.proxy,
        _configuration=configuration,
    )


def _refuse_proxy(proxy: str | None, context: str) -> None:
    """Execs go through plain HTTP proxies only, so others must not work half of the way."""
    parts = urllib.parse.urlsplit(proxy or "http://none")
    if parts.scheme != "http" or not parts.hostname:
        # A password may be part of it, so only the rest is shown.
        shown = f"{parts.scheme}://{parts.hostname or ''}"
        raise ClusterProblem(
            f"context {context}: its cluster has the proxy-url {shown}. Only proxies of the form "
            f"http://host:port are supported; the connection through one is TLS all the same."
        )


def _load_in_cluster(configuration: Configuration) -> str:
    from kubernetes.config import incluster_config
    from kubernetes.config.config_exception import ConfigException

    try:
        incluster_config.load_incluster_config(client_configuration=configuration)
    except ConfigException as error:
        raise ClusterProblem(
            f"--in-cluster: {error} This works only in a pod with a mounted service-account "
            f"token; elsewhere give --kubeconfig FILE."
        ) from error
    return "in-cluster"


def _load_kubeconfig(configuration: Configuration, options: ClusterOptions) -> str:
    import yaml
    from kubernetes.config import kube_config
    from kubernetes.config.config_exception import ConfigException

    file = Path(str(options.kubeconfig)).expanduser()
    if not file.is_file():
        raise ClusterProblem(
            f"--kubeconfig {file}: no such file. Give the path of an existing kubeconfig."
        )
    try:
        contexts, current = kube_config.list_kube_config_contexts(str(file))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f" (line {line + 1})" if line is not None else ""
        raise ClusterProblem(
            f"--kubeconfig {file}: not valid YAML{where}. Give a kubeconfig as kubectl writes it."
        ) from error
    except (ConfigException, *_MALFORMED) as error:
        known = _context_names(file)
        if known and options.context:
            contexts, current = [{"name": name} for name in known], {"name": options.context}
        else:
            raise ClusterProblem(
                f"--kubeconfig {file}: not a usable kubeconfig{_said(error)}. It needs clusters, "
                f"users, contexts and a current-context (or --kube-context NAME)."
            ) from error
    names = [str(context["name"]) for context in contexts]
    if options.context is not None and options.context not in names:
        raise ClusterProblem(
            f"--kube-context {options.context}: {file} has no such context. "
            f"Known: {', '.join(names) or 'none'}."
        )
    context = options.context or str(current["name"])
    try:
        kube_config.load_kube_config(
            config_file=str(file),
            context=context,
            client_configuration=configuration,
            persist_config=False,
        )
    except (ConfigException, *_MALFORMED) as error:
        raise ClusterProblem(
            f"--kubeconfig {file}, context {context}: its entry cannot be used{_said(error)}. Mend "
            f"the kubeconfig's cluster, user or certificate files for this context."
        ) from error
    return context


# What the library raises for kubeconfigs of a shape that it does not expect, besides its own.
_MALFORMED = (OSError, TypeError, AttributeError, KeyError, ValueError, IndexError, RuntimeError)


def _said(error: Exception) -> str:
    """The words of an error that is meant for people; a crash of the library says nothing."""
    crashed = isinstance(error, (TypeError, AttributeError, KeyError, IndexError))
    text = " ".join(str(error).split())
    return "" if crashed or not text or " object at 0x" in text else f": {text}"


def _context_names(file: Path) -> list[str]:
    """The names of contexts of a kubeconfig that names no current one."""
    import yaml

    data = yaml.safe_load(file.read_text(encoding="utf-8", errors="replace"))
    entries = data.get("contexts") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        return []
    return [str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry]
