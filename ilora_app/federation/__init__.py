"""The server engine: a Flower Strategy that has a method, members and replies."""
