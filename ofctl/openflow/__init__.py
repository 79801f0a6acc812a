"""The OpenFlow driver: our own encoder and channel over a bridge's management socket. Knows no OVSDB and no engine."""
