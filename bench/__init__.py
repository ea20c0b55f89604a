"""headwater beside its peers: the same work on the same machine, measured in turn. `python -m bench --help`."""
