"""What a classic Ryu or os-ken application finds around it: a process with os-ken, under both of its names.

`runner` is the process; `alias` makes `import ryu` work; `controller` brings the switch; `wsgi` is what `ryu.app.wsgi`
was; `ofctl_event` has ofctl's own events. Nothing of the agent imports this.
"""
