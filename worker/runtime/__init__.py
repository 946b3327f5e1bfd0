"""What corrects or speeds up Faust, a module an idea.

Docs/adr/0001-faust-with-a-runtime-of-our-own.md says why.
"""
