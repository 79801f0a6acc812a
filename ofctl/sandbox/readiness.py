"""Waiting until an agent serves, told by the agent itself."""

from __future__ import annotations

import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ofctl.sandbox.processes import Child, ProcessFailed

ATTEMPT_S = 0.5
"""How long one watch lasts before it is looked whether the process still runs."""
CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
]


def wait_until_serving(target: str, agent: Child, *, timeout_s: float) -> float:
    """Block until the agent says SERVING (grpc.health.v1): connected and resynced. Return the seconds waited.

    Raises ProcessFailed with the end of the agent's log if it ends first or the time is over.
    """
    began = time.monotonic()
    request = health_pb2.HealthCheckRequest(service="")
    said = "nothing"
    with grpc.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while (left_s := began + timeout_s - time.monotonic()) > 0:
            if not agent.running:
                raise ProcessFailed(f"the agent ended before it served:\n{agent.log_tail()}")
            try:
                for reply in health.Watch(request, timeout=min(left_s, ATTEMPT_S), wait_for_ready=True):
                    if reply.status == health_pb2.HealthCheckResponse.SERVING:
                        return time.monotonic() - began
                    said = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    said = f"{error.code().name} ({error.details()})"
                    time.sleep(0.01)  # a watch that was refused at once: the next attempt, and no busy loop
    raise ProcessFailed(f"the agent did not serve within {timeout_s:g} s, it said {said}:\n{agent.log_tail()}")
