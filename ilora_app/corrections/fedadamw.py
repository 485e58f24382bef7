"""FedAdamW (arXiv 2510.27486): shared second moments, and a step along the federation.

theta <- theta - eta (m^ / (sqrt(v^) + eps) + gamma g) - eta lambda theta, with m = 0 at
the start of every round, v from the server, and the count of steps behind v carried on.
"""

from ilora_app.corrections.directed import Directed
from ilora_app.settings.method import FEDADAMW


class FedAdamW(Directed):
    """Server half; clients take :class:`DirectedClient` with weights 1 and gamma."""

    name = FEDADAMW
