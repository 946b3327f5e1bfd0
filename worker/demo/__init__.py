"""`pprm demo`.

Real purchases through a real broker and worker, every basket compared with the list before it.

Pure: `households` (who takes part, what happens when), `records` (to the wire), `lists` (what was
recommended), `prequential` (the comparison), `progress`, `report`. Shell: `processes`, `kafka`,
`replay`, `view`; `story` tells it, `run` shows it and ends it.
"""
