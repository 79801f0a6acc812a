"""Attempts that neighbor replies stop: lies in questions about addresses that the switch knows.

A question tells who asks, and who hears it believes that (RFC 826; RFC 4861, 7.2.3). Asked about a known address it is
answered by the switch and reaches nobody. Its sender is one whose addresses are not checked.
"""

from __future__ import annotations

from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr
from scapy.layers.l2 import ARP

from tests.attack.attempt import Attempt, Attempts, Stopper
from tests.attack.cast import BROADCAST, INSIDER, NEIGHBOUR, ROUTER, VICTIM, Member, ether, ip

SOLICITED = "ff02::1:ff00:b"
SOLICITED_MAC = "33:33:ff:00:00:0b"
"""The multicast group that hears questions about VICTIM's addresses (RFC 4291, 2.7.1)."""


def lies() -> Attempts:
    for asker in (INSIDER, ROUTER):
        where = "" if asker == INSIDER else ", from outside"
        for name, liar in (("the gateway's", ROUTER), ("the neighbour's", NEIGHBOUR)):
            if liar != asker:
                yield answered(f"a question in {name} name{where}", 4, arp(asker, liar), asker)
                yield answered(f"a question in {name} name{where}", 6, ns(asker, liar), asker)


def answered(name: str, family: int, frame: bytes, sender: Member) -> Attempt:
    return Attempt(name, Stopper.ARP_ND, family, (frame,), sender=sender)


def arp(asker: Member, liar: Member) -> bytes:
    """Return the question who has VICTIM's address, as if the liar had the asker's MAC address."""
    question = ARP(op=1, hwsrc=asker.mac, psrc=liar.address(4), hwdst="00:00:00:00:00:00", pdst=VICTIM.address(4))
    return ether(asker.mac, BROADCAST, question)


def ns(asker: Member, liar: Member) -> bytes:
    question = ICMPv6ND_NS(tgt=VICTIM.address(6)) / ICMPv6NDOptSrcLLAddr(lladdr=asker.mac)
    return ether(asker.mac, SOLICITED_MAC, ip(6, liar.address(6), SOLICITED, hlim=255) / question)


ATTEMPTS = tuple(lies())
