"""`python -m ifer`: the command `ifer`, where the package is not installed."""
from .command import main

if __name__ == '__main__': main()
