"""What is raised where a record of another party is not what it must be."""


class WireError(ValueError):
    """A record that does not hold what it must; its text is told to who has sent it."""
