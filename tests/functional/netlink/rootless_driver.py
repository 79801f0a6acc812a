"""Program, run as uid 0 of a user namespace: makes and removes a TAP and a pair, prints what it saw as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace

from ofctl.errors import DeviceError
from ofctl.netlink.devices import Devices
from tests.functional.netlink.conftest import HOST, Namespace, soon
from tests.functional.netlink.test_taps import SPEC
from tests.functional.netlink.test_veths import as_specified, spec_in


async def main(tun_path: str) -> None:
    seen: dict[str, object] = {}
    async with Devices(HOST, tun_path=tun_path) as devices:
        namespace = Namespace()
        try:
            tap = await devices.ensure_tap(replace(SPEC, owner_uid=0), deadline=soon())
            seen["tap"] = (tap.created, tap.state.owner_uid)
        except DeviceError as error:
            seen["tap"] = (error.reason, error.message)
        await devices.ensure_veth(spec_in(namespace), deadline=soon())
        as_specified(namespace)
        seen["owned"] = [state.device for state in await devices.owned(deadline=soon())]
        for state in await devices.owned(deadline=soon()):
            await devices.remove(state.device, port_id=state.port_id, deadline=soon())
        seen["left"] = len(await devices.owned(deadline=soon()))
    print(json.dumps(seen))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
