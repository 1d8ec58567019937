"""The compiler's options, those that this JAX knows, and what programs take."""

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


def test_programs_are_given_up_before_the_system_gives_no_more(monkeypatch):
  if not devices.count_mappings():
    pytest.skip("this system does not say what is mapped")
  programs = [jax.jit(lambda x, n=n: x @ x + n) for n in range(20)]
  for each in programs:
    each(jnp.eye(8))
  many = devices.count_mappings()
  monkeypatch.setattr(devices, "MAPPINGS", 1)  # other tests compiled before
  devices.make_room_for("one")
  assert devices.count_mappings() >= many
  monkeypatch.setattr(devices, "MAPPINGS", 0)
  devices.make_room_for("one")  # known: nothing happens
  assert devices.count_mappings() >= many
  devices.make_room_for("another")
  assert devices.count_mappings() < many - len(programs)
  assert programs[3](jnp.eye(8))[0, 0] == 4


def test_processes_that_train_together_on_gpus_keep_no_programs(monkeypatch, tmp_path):
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  monkeypatch.setattr(devices, "process_count", lambda: 2)
  devices.use_compilation_cache()
  assert not list(tmp_path.iterdir())
