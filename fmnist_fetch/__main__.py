"""`python -m fmnist_fetch` is the command line."""

from fmnist_fetch.cli import main

if __name__ == "__main__":
    main()
