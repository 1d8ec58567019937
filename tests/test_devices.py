"""Options for the compiler: those of the platform, none where JAX knows none."""

import jax
import jax.numpy as jnp
import pytest

from micronet_jax import devices


@pytest.fixture(autouse=True)
def afresh():
  devices.compiler_options.cache_clear()
  yield
  devices.compiler_options.cache_clear()


def test_what_is_given_compiles():
  double = jax.jit(lambda x: 2 * x, compiler_options=devices.compiler_options())
  assert double(jnp.float32(2)) == 4


def test_an_option_that_this_jax_does_not_know_is_left_out(monkeypatch):
  monkeypatch.setattr(devices, "CPU_OPTIONS", {"xla_cpu_of_another_year": "1"})
  assert devices.compiler_options() == {}


def test_other_platforms_get_none(monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert devices.compiler_options() == {}
