"""Messages out of a byte stream, however it is cut."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import ovs.json
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ofctl.ovsdb.framing import MessageSplitter

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=5)


@given(messages=MESSAGES, ascii_only=st.booleans(), between=st.sampled_from(["", " ", "\n"]), cuts=st.data())
def test_every_way_to_cut_the_stream_gives_the_same_messages(
    messages: list[dict[str, object]], ascii_only: bool, between: str, cuts: st.DataObject
) -> None:
    stream = between.join(json.dumps(message, ensure_ascii=ascii_only) for message in messages).encode()
    places = sorted(cuts.draw(st.sets(st.integers(0, len(stream)), max_size=20)) | {0, len(stream)})
    splitter = MessageSplitter()
    received: list[object] = []
    for start, end in pairwise(places):
        received += splitter.feed(stream[start:end])
    assert received == messages


@pytest.mark.parametrize("stream", [b"nonsense}", b'{"a" 1}', b'{"a":1}}', b'{"a":"\\x"}', b"\xff}"])
def test_what_is_not_json_is_refused(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        MessageSplitter().feed(stream)


def test_it_is_many_times_faster_than_the_parser_in_python() -> None:
    """An update of 200 rows, as ratio, so that the speed of the machine does not matter."""
    row = {"initial": {"name": "tap0", "ofport": 7, "external_ids": ["map", [["iface-id", "x" * 36]]]}}
    text = json.dumps({"id": 3, "error": None, "result": {"Interface": {f"{n:036d}": row for n in range(200)}}})
    stream = text.encode()

    def fastest(parse: object) -> float:
        assert callable(parse)
        times = []
        for _ in range(3):
            begin = time.process_time()
            parse()
            times.append(time.process_time() - begin)
        return min(times)

    ours = fastest(lambda: MessageSplitter().feed(stream))
    if ovs.json.PARSER == ovs.json.PARSER_PY:
        assert fastest(lambda: ovs.json.from_string(text)) / ours > 8
