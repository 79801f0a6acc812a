"""A private Open vSwitch to play with, to demonstrate on and to test against."""
