"""A strategy has the same style in every figure, and no other strategy has it."""

from al_jax import acquisition
from experiments.analysis import styles


def test_every_acquisition_and_wrapper_of_the_registry_has_a_style():
  assert [*styles.COLORS] == [name for name in acquisition.REGISTRY if name != styles.RANDOM]
  assert [*styles.WRAPPERS] == [*acquisition.WRAPPERS]


def test_no_two_acquisitions_look_alike_in_colour_or_in_grey():
  drawn = [styles.style(name) for name in acquisition.REGISTRY]
  assert len({style.color for style in drawn}) == len(drawn)
  assert len({(style.marker, style.dash) for style in drawn}) == len(drawn)


def test_a_wrapper_changes_dash_and_shade_and_hyper_parameters_nothing():
  bald, power = styles.style("bald"), styles.style("power_bald")
  drawn = [bald, *(styles.style(f"{wrapper}_bald") for wrapper in styles.WRAPPERS)]
  assert len({style.dash for style in drawn}) == len({style.color for style in drawn}) == len(drawn)
  assert {style.marker for style in drawn} == {bald.marker}
  assert styles.style("power_bald(coldness=8)") == styles.style("power_bald [coldness=8]") == power


def test_a_switch_looks_like_neither_of_its_parts():
  first, second, switch = map(styles.style, ("typiclust", "power_bald", "typiclust(neighbors=5)@50:power_bald"))
  assert (switch.marker, switch.color) == (first.marker, second.color)
  assert switch.dash not in {styles.style(name).dash for name in [*acquisition.REGISTRY, "power_bald", "softrank_bald"]}
  assert styles.style("typiclust@90:power_bald") == switch != styles.style("power_bald@90:typiclust")


def test_strategies_of_one_style_differ_in_their_markers():
  drawn = styles.lines(["bald", "bald [learning_rate=0.1]", "bald [learning_rate=0.2]", "margin"])
  markers = [(line["marker"], line["markersize"], line["markerfacecolor"]) for line in drawn.values()]
  assert len(set(markers)) == 4
  assert drawn["bald"] == styles.lines(["margin", "bald"])["bald"]


def test_long_lines_have_about_twenty_markers():
  assert [styles.every(points) for points in (1, 21, 39)] == [1, 1, 1]
  assert 20 <= len(range(0, 301, styles.every(301))) <= 21
