"""What corrects or speeds up Faust, a module an idea; docs/adr/0003-what-we-replace-of-faust.md says why each exists."""
