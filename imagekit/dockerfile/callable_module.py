"""Modules that can be called like the function of their name.

``imagekit.dockerfile.parse`` is a module and, by ``from imagekit.dockerfile import parse``, the
function in it. Importing a module binds it to its name in the package, over whatever is there. So
that it never matters what was imported first, the module takes a call and passes it on.
"""

import sys
from types import ModuleType


class CallableModule(ModuleType):
    """A module that passes a call on to the function of its own name."""

    def __call__(self, *args: object, **options: object) -> object:
        """Call the function."""
        return vars(self)[self.__name__.rpartition(".")[2]](*args, **options)


def make_callable(name: str) -> None:
    """Let the module ``name``, which is being imported, be called."""
    sys.modules[name].__class__ = CallableModule
