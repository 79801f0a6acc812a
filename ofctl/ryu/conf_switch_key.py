"""What `ryu.app.conf_switch_key` was: keys of `os_ken.controller.conf_switch`."""

OVSDB_ADDR = "ovsdb_addr"
