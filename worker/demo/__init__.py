"""`pprm demo`: real purchases through a real broker and worker.

Every basket is compared with the list before it.

Pure: `households` (who takes part, what happens when), `wire_rows` (what is published), `lists`
(what was recommended), `prequential` (the comparison), `demo_progress`, `report`. Shell:
`processes`, `kafka`, `replay`, `view`; `scenario` plays the demo, `run` shows it and ends it.
"""
