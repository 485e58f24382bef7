"""What goes wrong in the protocol."""


class SecureError(ValueError):
    """A step that is refused, with what is wrong; it says nothing of any number."""
