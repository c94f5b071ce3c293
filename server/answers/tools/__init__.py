"""Tool calls: what a request offers (toolbox.py, choice.py) and how each family of models writes its calls.

A family is a *grammar*: a generator that reads a Source, writes to a Sink, and yields when it needs more text. It sees
one stream of characters, so how an answer is cut into pieces cannot change what is read. No grammar rescans what it has
read, so hostile text takes linear time; nothing is ever evaluated.
"""
