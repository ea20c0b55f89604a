"""headwater: spend scarce labels upstream, on the teacher; carry the behaviour down by a dense bridge."""
