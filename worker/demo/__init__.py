"""`pprm demo`: real purchases through a real broker and worker.

Every basket is compared with the list before it.

Pure: `households` (who takes part, what happens when), `records` (to the wire), `lists` (what was
recommended), `prequential` (the comparison), `progress`, `report`. Shell: `processes`, `kafka`,
`replay`, `view`; `scenario` runs it, `run` shows it and ends it.
"""
