"""How a block reaches a cluster: a kubeconfig file, or the service account of the pod that it runs in."""

from __future__ import annotations

import ssl
from pathlib import Path

import yaml
from kubernetes import config as kubernetes_config
from kubernetes.client import Configuration
from kubernetes.config.config_exception import ConfigException

from blocks.errors import ClusterRejected


def load_configuration(kubeconfig: Path | None, context: str | None) -> Configuration:
    """The Kubernetes client's configuration.

    Args:
        kubeconfig: The kubeconfig file; none means the pod's own service account.
        context: A context of that file; none means its current one.

    Raises:
        ClusterRejected: There is no such file, context or service account.
    """
    # One of our own: the client's default is the whole process's, and an environment may lie on another cluster.
    configuration = Configuration()
    try:
        if kubeconfig is None:
            kubernetes_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            # Not persisted: the client would write refreshed tokens back into the file, which may be shared, or a mounted Secret.
            kubernetes_config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(kubeconfig), context=context, client_configuration=configuration, persist_config=False
            )
    except yaml.YAMLError:
        # Not chained: the parser's error quotes the file, and with it what it holds.
        raise ClusterRejected(f"The kubeconfig {kubeconfig} is not valid YAML: mend it, or name another in the block.") from None
    except (ConfigException, OSError, TypeError, ValueError, LookupError, AttributeError) as exc:
        where = f"the kubeconfig {kubeconfig}" if kubeconfig else "the pod's service account"
        hint = "" if kubeconfig else "; outside a cluster, set the block's kubeconfig"
        raise ClusterRejected(f"No cluster can be reached with {where}: {str(exc).rstrip('.')}{hint}.") from exc
    # urllib3 would send a request again by itself, writes too. Whoever repeats one looks first whether it arrived.
    configuration.retries = False
    return configuration


def tls_context(configuration: Configuration) -> ssl.SSLContext:
    """A TLS context that verifies the API server against the configuration's authority and offers its client certificate."""
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


def bearer_headers(configuration: Configuration) -> dict[str, str]:
    """The headers that authenticate a plain HTTP client as the configuration's user."""
    token = configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    return {"Authorization": token} if token else {}
