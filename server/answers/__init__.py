"""What a model says and how it is sent: parsers of its text (tools/, reasoning/), events, streams, whole bodies."""
