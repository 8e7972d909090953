# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""Names in a config and their classes: those of the package, and those that users register."""

from collections.abc import Callable
from typing import Generic, TypeVar


T = TypeVar("T")


class Registry(dict[str, type[T]], Generic[T]):
    """
    The classes that a field of the config can name. A model looks them up when it is built.

    Args:
        field (`str`): The field of [`HyperSETConfig`].
        base (`type`): Every class must be a subclass of it.
    """

    def __init__(self, field: str, base: type[T]):
        super().__init__()
        self.field, self.base = field, base

    def __missing__(self, name: str) -> type[T]:
        raise ValueError(f"`{self.field}` must be one of {', '.join(map(repr, self))}, got {name!r}.")

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """
        A decorator that registers a class as `name`. The same class can be registered again.

        Raises:
            `ValueError`: another class has the name, or the class is not a subclass of the base.
        """

        def decorator(cls: type[T]) -> type[T]:
            if not (isinstance(cls, type) and issubclass(cls, self.base)):
                raise ValueError(f"{cls!r} must be a subclass of {self.base.__name__} to be registered as {name!r}.")
            present = self.get(name, cls)
            if (present.__module__, present.__qualname__) != (cls.__module__, cls.__qualname__):
                where = f"{present.__module__}.{present.__qualname__}"
                raise ValueError(f"{name!r} is already the name of {where}: choose another name.")
            self[name] = cls
            return cls

        return decorator
