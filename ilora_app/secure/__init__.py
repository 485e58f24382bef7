"""Secure aggregation: sums over nodes of which a server sees no part.

After Bonawitz et al. (CCS 2017), over a complete graph of nodes. Nothing here knows of
messages, models or tensors: numbers, keys and bytes go in and come out.
"""

from ilora_app.secure.adverts import Advert, KeySet
from ilora_app.secure.collector import opened
from ilora_app.secure.errors import SecureError, accused
from ilora_app.secure.fixed_point import FixedPoint, Ring, of_clients
from ilora_app.secure.identity import Roster, Signer
from ilora_app.secure.participant import Participant
from ilora_app.secure.terms import Terms

__all__ = [
    "Advert",
    "FixedPoint",
    "KeySet",
    "Participant",
    "Ring",
    "Roster",
    "SecureError",
    "Signer",
    "Terms",
    "accused",
    "of_clients",
    "opened",
]
