"""Where the API server is and who we are: inside a cluster by the mounted token, else by the kubeconfig."""

from __future__ import annotations

import os
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config


class NoCluster(Exception):
    """There is no API server to talk to, in one sentence."""


async def configuration(pool: int = 20) -> Configuration:
    """KUBECONFIG if set, else the pod's own token, else ~/.kube/config: kubectl's order."""
    found = Configuration()
    try:
        kubeconfig = os.environ.get("KUBECONFIG")
        if not kubeconfig and os.environ.get("KUBERNETES_SERVICE_HOST"):
            load_incluster_config(client_configuration=found)
        else:
            # Named, because the library reads the variable only once, when it is imported.
            path = kubeconfig or "~/.kube/config"
            await load_kube_config(config_file=path, client_configuration=found, persist_config=False)
            found.proxy = found.proxy or _environment_proxy(found.host)
    except (ConfigException, OSError, AttributeError, TypeError) as error:
        # The library answers an absent kubeconfig with AttributeError or TypeError.
        raise NoCluster(f"neither a usable kubeconfig nor a pod's credentials were found: {error}") from error
    found.connection_pool_maxsize = pool
    # Looked up once, above: aiohttp would look in the environment, in a thread, with each request.
    found.client_session_kwargs = {"trust_env": False}
    found.retries = None
    return found


def _environment_proxy(url: str) -> str | None:
    """As kubectl does; a pod talks to its own cluster and needs none."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


async def watch_session(
    config: Configuration, middleware: aiohttp.ClientMiddlewareType
) -> aiohttp.ClientSession:
    """A session for the watch layer with the same credentials."""
    headers = {}
    for auth in (await config.auth_settings()).values():
        headers[auth["key"]] = auth["value"]

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=RESTClientObject(config).ssl_context),
        headers=headers,
        middlewares=(middleware,),
        proxy=config.proxy,
        read_bufsize=2**21,
    )
