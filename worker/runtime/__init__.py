"""What corrects or speeds up Faust, one module per idea.

The reasons are in docs/adr/0001-faust-with-a-runtime-of-our-own.md.
"""
