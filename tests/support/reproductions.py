"""Synthetic rows, archive headers and configs of studies."""


def made_rows(acq, seed, accuracies, start=20, acq_size=10):
  return [
    {
      "acq": acq,
      "seed": seed,
      "round": r,
      "num_labeled": start + r * acq_size,
      "test_accuracy": value,
      "seconds_total": 1.0,
    }
    for r, value in enumerate(accuracies)
  ]


def made_about(rounds, **flags):
  """The header of an archived study."""
  about = {"device": "cpu", "jax": "0.10.2", "revisions": [], "data_sha256": "hash"}
  return about | {"flags": {"rounds": rounds, "acq_size": 10, **flags}}


def made_config(seed, seeds, **changes):
  """The config.json of a study."""
  flags = {"acq": ["random", "margin"], "seed": seed, "seeds": seeds, "rounds": 1, "acq_size": 10}
  return {"flags": flags, "data_sha256": "hash", "device_kind": "cpu", "versions": {"jax": "0.10.2"}} | changes
