"""`python -m crossrank` is `crossrank`."""

from crossrank.cli import main

if __name__ == "__main__":
    main()
