"""How the clients reach the agent: address, retries, TLS."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import grpc

DEFAULT_TARGET = "unix:/run/ofctl/ofctl.sock"
TARGET_VARIABLE = "OFCTL_CONNECT"
DEFAULT_TIMEOUT_S = 30.0

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": "ofctl.v1.PortService"},
                {"service": "ofctl.v1.NetworkService"},
                {"service": "ofctl.v1.SecurityService"},
                {"service": "ofctl.v1.HostService"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
"""Every call is safe to repeat: a plug has a request_id, an unplug that was done is NOT_FOUND (gRPC proposal A6)."""

OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # An agent that restarts is back in less than gRPC's default of a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A unix socket needs no proxy, whatever the environment says.
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files, PEM: the authority that signed the agent's certificate; our own certificate and its key."""

    ca: Path
    cert: Path
    key: Path

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises OSError."""
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), self.key.read_bytes(), self.cert.read_bytes())


def target_or_default(target: str | None) -> str:
    """Return `target`, else $OFCTL_CONNECT, else the agent's default socket."""
    return target or os.environ.get(TARGET_VARIABLE) or DEFAULT_TARGET
