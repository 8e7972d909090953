# Copyright 2026 The modeling_hyperset authors. Licensed under the Apache License, Version 2.0.
"""How users put classes of their own beside the package's."""


def registrar(registry: dict, base: type, name: str):
    """A decorator that puts a subclass of `base` into `registry`. Running the same file twice is no mistake."""

    def register(cls):
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise ValueError(f"{cls!r} must be a subclass of {base.__name__} to be registered as {name!r}.")
        present = registry.get(name, cls)
        if (present.__module__, present.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"{name!r} is {present.__module__}.{present.__qualname__} already; choose another name.")
        registry[name] = cls
        return cls

    return register
