"""least_python.py: ends a program that needs a newer Python. It is written so that older ones can read it."""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "python3 is {} and must be at least 3.11: install it so that `python3` is it "
        "(a virtual environment of python3.11 will do)".format(sys.version.split()[0])
    )
