"""Names -> components: `register` adds one, `available` lists them, `create` builds one. Imports no torch."""

from regtorch.registry.components import PACKAGES, Component, homes, near, register, registered
from regtorch.registry.lookup import attribute, available, component, create, is_registered, user_components

__all__ = [
    "PACKAGES",
    "Component",
    "attribute",
    "available",
    "component",
    "create",
    "homes",
    "is_registered",
    "near",
    "register",
    "registered",
    "user_components",
]
