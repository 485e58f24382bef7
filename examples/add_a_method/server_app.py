"""The server runs ilora's own ServerApp, which finds the method by its name."""

from ilora_app.server_app import app

__all__ = ["app"]
