"""ParaCLIP: a CLIP text encoder that answers the same however the query is worded."""

__version__ = "0.1.0"
