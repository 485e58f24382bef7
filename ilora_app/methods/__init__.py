"""The mathematics of the methods, both halves: one file a method, no Flower."""

from ilora_app.methods.client import ClientHalf
from ilora_app.methods.method import Method
from ilora_app.methods.registry import BOUNDS, METHODS, MethodError, find, load, parse
from ilora_app.methods.resolution import resolve

__all__ = [
    "BOUNDS",
    "METHODS",
    "ClientHalf",
    "Method",
    "MethodError",
    "find",
    "load",
    "parse",
    "resolve",
]
