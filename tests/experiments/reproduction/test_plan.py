"""The plan: its commands parse, and name strategies and seeds that exist."""

from experiments.config import acquisitions
from experiments.papers.base import StudyCommand
from experiments.papers.registry import PUBLISHED
from experiments.papers.registry import REPRODUCTIONS
from experiments.reproduction import plan


def test_every_study_of_the_plan_is_a_command_that_is_understood(resolve):
  studies = [(scale, s) for part in REPRODUCTIONS.values() for scale in part.studies for s in part.studies[scale]]
  configs = resolve(*(plan.words(study, "runs") for _, study in studies))
  alone = resolve(*(plan.words(study, "runs", plan.all_seeds(study)[-1:]) for _, study in studies))
  for (scale, study), config, last in zip(studies, configs, alone, strict=True):
    assert isinstance(config, dict), config
    assert config["preset"] == study.preset
    assert range(config["seed"], config["seed"] + config["seeds"]) == plan.all_seeds(study)
    assert f"--workdir=runs/{scale}/{study.name} --resume" in plan.command(study, f"runs/{scale}")
    assert isinstance(last, dict), last
    differ = {name for name, value in last.items() if value != config[name]}
    assert differ <= {"seed", "seeds", "workdir", "resume"}, differ
    assert (last["seed"], last["seeds"]) == (plan.all_seeds(study)[-1], 1)


def test_signs_and_studies_name_what_is_run_and_published():
  for part in REPRODUCTIONS.values():
    assert part.published is None or part.published in PUBLISHED
    assert part.studies.keys() == part.scope.keys() and part.studies.keys() <= plan.SCALES.keys()
    names = [study.name for studies in part.studies.values() for study in studies]
    assert {reference.study for reference in part.references} <= set(names)
    for pair in part.orderings:
      for name in pair:
        acquisitions.of(name)


_SMALL = StudyCommand("small", "study", ("--acq=random", "--seeds=2", "--rounds=1"))


def test_seeds_are_told_by_a_study_or_by_its_preset():
  assert plan.all_seeds(_SMALL) == range(2)
  assert plan.all_seeds(StudyCommand("first_rounds", "batchbald", ("--rounds=0",))) == range(6)
  assert plan.all_seeds(StudyCommand("one", "blog")) == range(1)
  assert plan.all_seeds(StudyCommand("late", "study", ("--seed=5", "--seeds=2"))) == range(5, 7)


def test_features_come_from_the_users_folder_and_seeds_of_each_budget_from_no_other():
  studies = REPRODUCTIONS["vae_features"].studies["cpu"]
  second = studies[1]
  assert "--features=DIR/vae_train.npy,DIR/vae_test.npy" in plan.command(second, "runs").split()
  words = plan.words(second, "runs", range(23, 25), "my folder")
  assert words[1:5] == [
    "--init_labels=20",
    "--seed=23",
    "--seeds=2",
    "--features=my folder/vae_train.npy,my folder/vae_test.npy",
  ]
  seeds = [seed for study in studies for seed in plan.all_seeds(study)]
  assert len(seeds) == len(set(seeds)) == 20 * 7
  assert plan.is_one_program(second) and not plan.is_one_program(_SMALL)
