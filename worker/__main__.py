"""`python -m worker` is `verification-worker`."""

from worker.cli import main

if __name__ == "__main__":
    main()
