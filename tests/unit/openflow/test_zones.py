"""What `dpctl/dump-conntrack` prints, as values."""

from __future__ import annotations

from ipaddress import ip_address

from ofctl.openflow.conntrack import ConnectionTuple, Echo
from ofctl.openflow.zones import Connection, read_connections

TEXT = """\
tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1001,dport=80),reply=(src=10.0.0.2,dst=10.0.0.1,sport=80,dport=1001),\
zone=5,mark=7,protoinfo=(state=ESTABLISHED)
udp,orig=(src=fd00::1,dst=fd00::2,sport=9,dport=53),reply=(src=fd00::2,dst=fd00::1,sport=53,dport=9),mark=4294967295
icmpv6,orig=(src=fd00::1,dst=fd00::2,id=9,type=128,code=0),reply=(src=fd00::2,dst=fd00::1,id=9,type=129,code=0),zone=65535
47,orig=(src=10.0.0.1,dst=10.0.0.2,sport=0,dport=0),reply=(src=10.0.0.2,dst=10.0.0.1,sport=0,dport=0),zone=5,labels=0x1
tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=1,dport=2),reply=(src=10.0.0.2,dst=10.0.0.1,sport=2,dport=1),zone=5,\
labels=0x7,protoinfo=(state=SYN_SENT),helper=ftp
something else that a later version prints
"""


def test_every_form_is_read_and_what_is_none_passed_over() -> None:
    a, b = ip_address("10.0.0.1"), ip_address("10.0.0.2")
    c, d = ip_address("fd00::1"), ip_address("fd00::2")
    assert list(read_connections(TEXT)) == [
        Connection(5, ConnectionTuple(6, a, b, 1001, 80), ConnectionTuple(6, b, a, 80, 1001), 7, "ESTABLISHED"),
        Connection(0, ConnectionTuple(17, c, d, 9, 53), ConnectionTuple(17, d, c, 53, 9), 0xFFFFFFFF),
        Connection(
            65535, ConnectionTuple(58, c, d, echo=Echo(9, 128, 0)), ConnectionTuple(58, d, c, echo=Echo(9, 129, 0))
        ),
        Connection(5, ConnectionTuple(47, a, b, 0, 0), ConnectionTuple(47, b, a, 0, 0)),
        Connection(5, ConnectionTuple(6, a, b, 1, 2), ConnectionTuple(6, b, a, 2, 1), 0, "SYN_SENT"),
    ]
