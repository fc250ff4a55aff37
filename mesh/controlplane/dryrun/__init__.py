"""What would change if policies were applied: asked beforehand, and nothing is changed.

``forecast`` renders the zone as it is and as it would be, with the renderer itself, for every
connected proxy; ``difference`` and ``calls`` say what differs.  ``batches`` writes what changed as
configurations that an Envoy can be asked about, and ``envoy`` asks one.  ``runs`` takes requests
and puts the answer together.  All but the last two are pure.
"""
