"""Log lines: one per event, with what was bound around them, and without secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest

from ofctl.log import bound, configure, fields

Reader = Callable[[], str]
logger = logging.getLogger("ofctl.test")


@pytest.fixture
def lines() -> Iterator[Callable[[str], Reader]]:
    """Configure the logs as `text` or `json` and return what reads them; put pytest's handlers back."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def start(log_format: str) -> Reader:
        stream = io.StringIO()
        configure(log_format=log_format, level="INFO", stream=stream)
        return stream.getvalue

    yield start
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_has_what_is_bound_around_it(lines: Callable[[str], Reader]) -> None:
    read = lines("text")
    with bound(port="p1", request="r1"), bound(stage="attach"):
        logger.info("attached", extra=fields(ofport=3, device="tap1", note="two words"))
    logger.info("after")
    first, second = read().splitlines()
    assert first.endswith(
        'INFO ofctl.test attached port=p1 request=r1 stage=attach ofport=3 device=tap1 note="two words"'
    )
    assert second.endswith("INFO ofctl.test after")


def test_json_has_the_same_fields(lines: Callable[[str], Reader]) -> None:
    read = lines("json")
    with bound(port="p1", stage="attach"):
        logger.warning("slow: %d ms", 7, extra=fields(ofport=3, message="not the message"))
    line = json.loads(read())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "ofctl.test",
        "message": "slow: 7 ms",
        "port": "p1",
        "stage": "attach",
        "ofport": 3,
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_one_event_is_one_line(lines: Callable[[str], Reader], log_format: str) -> None:
    read = lines(log_format)
    with bound(label="a\nb=c"):
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            logger.exception("failed\nINFO forged")
    assert len(read().splitlines()) == 1
    assert "ValueError" in read()


async def test_tasks_do_not_mix(lines: Callable[[str], Reader]) -> None:
    read = lines("json")

    async def plug(name: str) -> None:
        with bound(port=name):
            await asyncio.sleep(0)
            logger.info("hello from %s", name)

    await asyncio.gather(plug("p1"), plug("p2"))
    for line in map(json.loads, read().splitlines()):
        assert line["message"] == f"hello from {line['port']}"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_are_not_written(lines: Callable[[str], Reader], log_format: str) -> None:
    read = lines(log_format)
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"
    with bound(api_token="s3cret"):
        logger.info("key %s", key, extra=fields(password="s3cret", port="p1"))
    assert "s3cret" not in read() and "MIIE" not in read()
    assert "p1" in read()


def test_libraries_speak_from_warning_upwards(lines: Callable[[str], Reader]) -> None:
    read = lines("text")
    logging.getLogger("os_ken.lib").info("chatter")
    logging.getLogger("os_ken.lib").warning("trouble")
    assert [line.split(" ", 1)[1] for line in read().splitlines()] == ["WARNING os_ken.lib trouble"]
