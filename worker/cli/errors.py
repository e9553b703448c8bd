"""What a user did wrong, in one line that says what to do."""


class UserMistake(Exception):
    """Printed as one line; exit code 2."""
