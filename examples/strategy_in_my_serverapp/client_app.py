"""The nodes run ilora's own ClientApp: data, training and all."""

from ilora_app.client_app import app

__all__ = ["app"]
