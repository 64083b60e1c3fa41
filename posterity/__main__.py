"""`python -m posterity`: the same as the command `posterity`."""

from posterity._app import main

if __name__ == "__main__":
    main()
