"""What is on the wire: one module a topic family, all listed in `schemas.families`.

`python -m schemas` writes AsyncAPI and JSON Schemas.
"""
