"""The version, read by the build and by `micronet_jax.__version__`."""

__version__ = "0.1.0"
