"""What is minimised: Eq. 2 or cross-entropy, over target and auxiliary data.

Called by `training.step`.
"""

import jax
import jax.numpy as jnp
import optax

from micronet_jax.errors import InputError


def weighted_mse_per_example(
  prediction: jax.Array,
  target: jax.Array,
  *,
  lam: float | jax.Array = 5.0,
  scale: float = 5.0,
  floor: float = 0.0,
) -> jax.Array:
  """Eq. 2 for each patch: ½ · mean over pixels of (y + λ·ȳ)(o - scale·y)².

  The weight takes the map unscaled, as the authors' code does; ȳ is the mean of y
  over the patch. The factor 5 of `scale` is in "Implementation details".

  Args:
    prediction: o, `[B, H, W]`.
    target: y, proximity maps in [0, 1], unscaled, `[B, H, W]`.
    lam: λ, the weight of the regions where y is zero.
    scale: what the network learns is scale · y.
    floor: least ȳ; with 0, as in the paper, patches without nuclei weigh nothing.

  Returns:
    float32 `[B]`.

  Raises:
    InputError: the shapes differ, which would broadcast.
  """
  if prediction.shape != target.shape:
    raise InputError(
      f"the prediction has the shape {prediction.shape} and the target {target.shape};"
      " they must be the same, [B, H, W]"
    )
  prediction, target = prediction.astype(jnp.float32), target.astype(jnp.float32)
  mean = jnp.mean(target, axis=(-2, -1), keepdims=True)
  mean = jnp.maximum(mean, floor) if floor else mean
  error = jnp.square(prediction - scale * target)
  return 0.5 * jnp.mean((target + lam * mean) * error, axis=(-2, -1))


def weighted_mse(
  prediction: jax.Array,
  target: jax.Array,
  *,
  lam: float | jax.Array = 5.0,
  scale: float = 5.0,
) -> jax.Array:
  """Eq. 2 averaged over the batch; arguments as in `weighted_mse_per_example`."""
  return jnp.mean(weighted_mse_per_example(prediction, target, lam=lam, scale=scale))


def cross_entropy_per_example(logits: jax.Array, target: jax.Array) -> jax.Array:
  """Cross-entropy for each patch: the mean over its pixels, all weighing the same.

  One logit a pixel, the log odds of the foreground. A softmax over two classes is the
  sigmoid of the difference of its two logits, so nothing is lost by the second.

  Args:
    logits: `[B, H, W]`.
    target: 1 in the foreground and 0 elsewhere, `[B, H, W]`.

  Returns:
    float32 `[B]`, in nats.
  """
  logits, target = logits.astype(jnp.float32), target.astype(jnp.float32)
  return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, target), axis=(-2, -1))


def loss_divisor(*, lam: float, gamma: float | None) -> float:
  """What the loss grows with λ and γ by, which is no other direction but a longer step.

  The mean weight of Eq. 2 over a patch is (1 + λ)·ȳ; ȳ stays, by which an image counts
  for its nuclei. L = γ·L_T + L_A has the weights of γ + 1 batches.

  Args:
    lam: λ of Eq. 2, or 0 for a loss without.
    gamma: γ, or None where nothing is balanced.
  """
  return (1.0 + lam) * (1.0 if gamma is None else gamma + 1.0)


def balance_weights(is_target: jax.Array, *, gamma: float | jax.Array) -> jax.Array:
  """Weights w with sum(w · loss) = γ · mean over target + mean over auxiliary.

  This is L = γ·L_T + L_A of "Training with auxiliary datasets", each term the mean
  over its own part of the batch.

  Args:
    is_target: bool `[B]`, at least one of each kind.
    gamma: γ > 0.

  Returns:
    float32 `[B]`.
  """
  targets = jnp.sum(is_target)
  others = is_target.shape[0] - targets
  return jnp.where(is_target, gamma / targets, 1.0 / others).astype(jnp.float32)
