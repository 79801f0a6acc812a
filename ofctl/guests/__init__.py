"""Guests: classic Ryu and os-ken applications, each in a process of its own that the agent looks after.

A thread could not contain a guest that spins or leaks, so a guest never runs in the agent. `ofctl.ryu` is what runs in
the guest's process. The two talk over two kinds of socket pairs: one with JSON messages (`channel`), and for each
connection to the switch one that carries OpenFlow, which `fence` passes on and keeps in bounds.
"""
