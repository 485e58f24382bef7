"""FedLADA (arXiv 2308.00522): the local adaptive step, amended by a global direction.

theta <- theta - eta (a m^ / (sqrt(v^) + eps) + (1 - a) g) - eta lambda theta, with v
the mean of the clients'. In the first round there is no g, and the step is the local
one [choice: with g = 0 it would be a tenth of a step].
"""

from ilora_app.corrections.directed import Directed
from ilora_app.settings.method import FEDLADA


class FedLADA(Directed):
    """Server half; clients take :class:`DirectedClient` with weights a and 1 - a."""

    name = FEDLADA
