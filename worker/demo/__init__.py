"""`pprm demo`: real purchases through a real broker and a real worker, and every basket compared with the list before it.

Pure: `households` (who takes part, what happens when), `records` (to the wire), `lists` (what was recommended), `prequential`
(the comparison), `report`. Shell: `processes`, `publisher`, `listener`, `replay`, `view`, and `run`, which tells the story.
"""
