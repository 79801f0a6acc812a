"""What third-party apps have to say in a plug besides flows: judge annotations, and bind the port outside.

Whatever an app raises becomes an error of `ofctl.errors` that names it: an app's defect ends no more than the plug.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from ofctl.errors import AppRefused, BinderFailed, DeadlineExceeded, InvalidField, OfctlError, Refused
from ofctl.log import fields
from ofctl.model.host import AppState, AppView
from ofctl.model.ids import HostId
from ofctl.model.network import Network
from ofctl.model.port import Binding, PortSpec
from ofctl.pipeline.app import App
from ofctl.pipeline.binder import Binder, BoundPort, NotBound
from ofctl.pipeline.feature import FeatureApp

logger = logging.getLogger(__name__)

BIND_TIMEOUT_S = 10.0


class Annotations:
    """Judges the annotations of ports by the apps that declare them."""

    def __init__(self, apps: Iterable[App] = ()) -> None:
        self._apps = {app.name: app for app in apps}

    def check(self, spec: PortSpec) -> None:
        """Raise InvalidField for the first annotation that no app has declared, or that its app does not accept."""
        for key, value in spec.annotations:
            where = f"port.annotations[{key!r}]"
            name, _, field = key.partition("/")
            app = self._apps.get(name)
            if app is None:
                raise InvalidField(where, f"no app {name!r} is loaded on host {spec.host_id!r}")
            declared = sorted(annotation.name for annotation in app.annotations)
            if field not in declared:
                raise InvalidField(where, f"app {name} has no such field; it has {', '.join(declared) or 'none'}")
            try:
                app.check_annotation(field, value)
            except Exception as error:
                raise InvalidField(where, str(error) or f"app {name} refuses it: {error!r}") from error


def describe_apps(apps: Iterable[App], bridge: str, errors: Mapping[str, str]) -> tuple[AppView, ...]:
    """Return feature apps and binders for GetHost; `errors` is the last of each binder."""
    kinds = ((FeatureApp, "feature"), (Binder, "binder"))
    return tuple(
        AppView(
            name=app.name,
            kind=" ".join(word for kind, word in kinds if isinstance(app, kind)),
            source=f"{type(app).__module__}:{type(app).__qualname__}",
            bridge=bridge,
            state=AppState.RUNNING,
            last_error=errors.get(app.name, ""),
        )
        for app in dict.fromkeys(apps)
    )


class Binders:
    """Binds ports with every binder, in the order of the configuration, and unbinds them in reverse."""

    def __init__(self, binders: Sequence[Binder] = (), *, timeout_s: float = BIND_TIMEOUT_S) -> None:
        """`timeout_s` is what one binder has for one call, if the plug's deadline is not sooner."""
        self._binders = tuple(binders)
        self._timeout_s = timeout_s
        self._opened: list[Binder] = []
        self.errors: dict[str, str] = {}
        """The last error of each binder, a sentence."""

    @property
    def names(self) -> tuple[str, ...]:
        """The binders that a port is bound with."""
        return tuple(binder.name for binder in self._binders)

    async def open(self) -> None:
        """Open all. Raises AppRefused, which names the binder."""
        for binder in self._binders:
            self._opened.append(binder)
            try:
                async with asyncio.timeout(self._timeout_s):
                    await binder.open()
            except Exception as error:
                raise AppRefused(binder.name, f"its open() failed: {error!r}") from error

    async def close(self) -> None:
        """Close those that were opened; what one of them raises is logged."""
        while self._opened:
            binder = self._opened.pop()
            try:
                async with asyncio.timeout(self._timeout_s):
                    await binder.close()
            except Exception:
                logger.exception("a binder did not close", extra=fields(binder=binder.name))

    async def bind(self, binding: Binding, network: Network, called: set[str], *, deadline: float) -> None:
        """Return when every binder has bound the port; `called` gets the names of those that may have.

        Raises Refused, BinderFailed, DeadlineExceeded (BINDER_TIMEOUT); `metadata['binder']` names the binder.
        """
        for binder in self._binders:
            fresh = binder.name not in called
            called.add(binder.name)
            try:
                await self._call(binder, binder.bind, binding, network, deadline)
            except BinderFailed as error:
                if fresh and isinstance(error.__cause__, NotBound):
                    called.discard(binder.name)
                raise

    async def unbind(self, binding: Binding, network: Network, called: set[str], *, deadline: float) -> None:
        """Return when none of the binders in `called` has the port; those that are done leave it. Raises as `bind`."""
        for binder in reversed(self._binders):
            if binder.name in called:
                await self._call(binder, binder.unbind, binding, network, deadline)
                called.discard(binder.name)

    async def _call(
        self,
        binder: Binder,
        act: Callable[[BoundPort, HostId], Awaitable[None]],
        binding: Binding,
        network: Network,
        deadline: float,
    ) -> None:
        try:
            await self._named(binder, act, binding, network, deadline)
        except OfctlError as error:
            self.errors[binder.name] = error.message
            raise

    async def _named(
        self,
        binder: Binder,
        act: Callable[[BoundPort, HostId], Awaitable[None]],
        binding: Binding,
        network: Network,
        deadline: float,
    ) -> None:
        """Call, and name the binder in whatever it raises."""
        until = min(deadline, asyncio.get_running_loop().time() + self._timeout_s)
        named = {"binder": binder.name}
        subject = binding.port_id
        try:
            async with asyncio.timeout_at(until):
                await act(_bound_port(binding, network), binding.spec.host_id)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"binder {binder.name} did not answer for port {subject!r} in time",
                reason="BINDER_TIMEOUT",
                metadata=named,
            ) from error
        except Refused as error:
            raise Refused(
                f"binder {binder.name} refuses port {subject!r}: {error.message}",
                reason="BINDER_REFUSED",
                subject=subject,
                metadata=named,
            ) from error
        except Exception as error:
            text = error.message if isinstance(error, OfctlError) else str(error) or repr(error)
            raise BinderFailed(
                f"binder {binder.name} failed for port {subject!r}: {text}", subject=subject, metadata=named
            ) from error


def _bound_port(binding: Binding, network: Network) -> BoundPort:
    return BoundPort(
        port_id=binding.port_id,
        network=network,
        mac_address=binding.mac_address,
        fixed_ips=binding.spec.fixed_ips,
        mtu=binding.mtu,
        device=binding.device,
        device_id=binding.spec.device_id,
        annotations=binding.spec.annotations,
    )
