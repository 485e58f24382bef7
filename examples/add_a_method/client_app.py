"""The nodes run ilora's own ClientApp."""

from ilora_app.client_app import app

__all__ = ["app"]
