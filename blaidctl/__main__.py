"""`python -m blaidctl`: the same program as the installed script, for hosts whose PATH lacks it."""

from blaidctl.cli import entrypoint

if __name__ == "__main__":
    entrypoint()
