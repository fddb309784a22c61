"""Settings: default < TOML file, every mistake named, and the way to plain tables and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_cli.config import AdversaryConfig, GeneratorConfig, SamplerConfig, TrainConfig
from deal_cli.errors import ExitCode, UsageError
from deal_cli.mapping import from_mapping, load_toml, to_mapping
from deal_cli.networks import NETWORKS, BlockConfig, NetworkConfig


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(table: Any, cls: type = TrainConfig) -> str:
    with pytest.raises(UsageError) as caught:
        from_mapping(cls, table, where="recipe.toml")
    assert caught.value.exit_code is ExitCode.USAGE
    message = str(caught.value)
    assert message.startswith("recipe.toml: ")
    return message.removeprefix("recipe.toml: ")


# Read -------------------------------------------------------------------------------------------


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_toml(TrainConfig, written(tmp_path, "")) == TrainConfig()


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    config = load_toml(
        TrainConfig,
        written(
            tmp_path,
            """
            steps = 12
            learning_rate = 1
            scale_odds = [1, 0, 0.5]
            precision = "float32"

            [network]
            width = 8
            norm = "batch"
            blocks = [
                { kind = "stm", kernel_in = 5, kernel_out = 3 },
                { kind = "ssm", kernel_in = 7, kernel_out = 1, dilation = 2 },
            ]

            [sampler]
            count_odds = [0, 1]

            [sampler.odds]
            stripe = 1
            """,
        ),
    )
    assert config == TrainConfig(
        steps=12,
        learning_rate=1.0,
        scale_odds=(1.0, 0.0, 0.5),
        precision="float32",
        network=NetworkConfig(
            width=8, norm="batch", blocks=(BlockConfig("stm", 5, 3), BlockConfig("ssm", 7, 1, 2))
        ),
        sampler=SamplerConfig(count_odds=(0.0, 1.0), odds={"stripe": 1.0}),
    )
    assert isinstance(config.learning_rate, float)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read \(No such file"):
        load_toml(TrainConfig, tmp_path / "none.toml")


@pytest.mark.parametrize("data", [b"steps = ", b"[network", b"steps = 1\nsteps = 2", b"\xff\xfe"])
def test_what_is_no_toml_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"recipe\.toml: is not valid TOML"):
        load_toml(TrainConfig, path)


# Refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "unknown", "near"),
    [
        ({"learnig_rate": 1e-3}, "learnig_rate", "learning_rate"),
        ({"sed": 1}, "sed", "seed"),
        ({"network": {"widht": 4}}, "widht", "width"),
        ({"sampler": {"count_odd": [1]}}, "count_odd", "count_odds"),
        ({"network": {"blocks": [{"kernel-in": 3}]}}, "kernel-in", "kernel_in"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(
    table: dict[str, Any], unknown: str, near: str
) -> None:
    assert refusal(table) == f"unknown key '{unknown}'; did you mean '{near}'?"


def test_a_key_like_no_other_is_still_refused() -> None:
    assert refusal({"zzz": 1}).startswith("unknown key 'zzz'; did you mean '")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"steps": "many"}, "'steps' cannot be 'many'; it is a whole number"),
        ({"steps": 1.5}, "'steps' cannot be 1.5; it is a whole number"),
        ({"steps": True}, "'steps' cannot be True; it is a whole number"),
        ({"clip": "1"}, "'clip' cannot be '1'; it is a number"),
        ({"clip": False}, "'clip' cannot be False; it is a number"),
        (
            {"precision": "half"},
            "'precision' cannot be 'half'; it is one of auto, bfloat16, float32",
        ),
        (
            {"scale_odds": [1, 2]},
            "'scale_odds' cannot be [1, 2]; it is a list of 3, each item a number",
        ),
        ({"scale_odds": [1, 2, "3"]}, "'scale_odds' cannot be '3'; it is a number"),
        (
            {"sampler": {"count_odds": 1}},
            "'count_odds' cannot be 1; it is a list, each item a number",
        ),
        (
            {"sampler": {"odds": [1]}},
            "'odds' cannot be [1]; it is a table, each value a number",
        ),
        ({"sampler": {"odds": {"blur": "x"}}}, "'odds.blur' cannot be 'x'; it is a number"),
        ({"network": 3}, "'network' cannot be 3; it is a table"),
        ({"network": {"blocks": [3]}}, "'blocks' cannot be 3; it is a table"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_the_right_one(
    table: dict[str, Any], message: str
) -> None:
    assert refusal(table) == message


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"crop": 12}, "'crop' is 12, less than the network wants, 16"),
        (
            {"crop": 8, "network": {"padding": "reflect"}},
            "'crop' is 8, less than the network wants, 34",
        ),
        ({"sampler": {"severity_power": -1}}, "'severity_power' is -1.0, not 0 or more"),
        ({"sampler": {"least_severity": 2}}, "'least_severity' is 2.0, not from 0 to 1"),
        ({"sampler": {"camera_order_odds": 7}}, "'camera_order_odds' is 7.0, not from 0 to 1"),
        ({"gauge": {"learning_rate": -1}}, "'learning_rate' of the gauge is -1.0, not 0 or more"),
        ({"tone": {"learning_rate": -1}}, "'learning_rate' of the tone is -1.0, not 0 or more"),
        ({"tone": {"seed": -1}}, "'seed' of the tone is -1, not 0 or more"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_before_anything_is_tried(
    table: dict[str, Any], message: str
) -> None:
    assert refusal(table).endswith(f": {message}")


def test_a_block_without_its_kernels_is_refused() -> None:
    assert "kernel_in" in refusal({"network": {"blocks": [{"kind": "stm"}]}})


@pytest.mark.parametrize("kernel", [0, -3, 4])
@pytest.mark.parametrize("key", ["kernel_in", "kernel_out"])
def test_a_kernel_without_a_middle_is_refused(key: str, kernel: int) -> None:
    block = {"kind": "stm", "kernel_in": 3, "kernel_out": 3, key: kernel}
    message = f"BlockConfig: '{key}' is {kernel}, not an odd number from 1 up"
    assert refusal({"network": {"blocks": [block]}}) == message


@pytest.mark.parametrize("key", ["channels", "width", "stride", "time_steps"])
def test_a_network_of_size_zero_is_refused(key: str) -> None:
    assert (
        refusal({key: 0}, NetworkConfig) == f"NetworkConfig: '{key}' is 0, not a number from 1 up"
    )


def test_a_convolution_without_dilation_is_refused() -> None:
    block = {"kind": "stm", "kernel_in": 3, "kernel_out": 3, "dilation": 0}
    assert "'dilation' is 0" in refusal(block, BlockConfig)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"channels": 5}, "'channels' is 5, more than 4"),
        ({"width": 10**9}, "'width' is 1000000000, more than 512"),
        ({"stride": 9}, "'stride' is 9, more than 8"),
        ({"time_steps": 10**12}, "'time_steps' is 1000000000000, more than 32"),
        ({"detail_radius": 65}, "'detail_radius' is 65, not a number from 0 to 64"),
        ({"detail_radius": -1}, "'detail_radius' is -1, not a number from 0 to 64"),
        ({"width": 10**3000}, "…, more than 512"),
        ({"blocks": [{"kind": "stm", "kernel_in": 1, "kernel_out": 1}] * 65}, "65 'blocks'"),
    ],
)
def test_a_network_beyond_all_bounds_is_refused_on_one_short_line(
    table: dict[str, Any], named: str
) -> None:
    message = refusal(table, NetworkConfig)
    assert named in message
    assert len(message) < 200


def test_blocks_that_look_farther_than_a_tile_are_refused() -> None:
    block = {"kind": "stm", "kernel_in": 31, "kernel_out": 31, "dilation": 2}
    assert NetworkConfig(blocks=(BlockConfig(**block),) * 4).blocks  # 2 * (4 + 4 * 47) = 384
    assert "pixels away, more than 432" in refusal({"blocks": [block] * 5}, NetworkConfig)


@pytest.mark.parametrize("key", ["kernel_in", "kernel_out", "dilation"])
def test_a_convolution_beyond_all_bounds_is_refused(key: str) -> None:
    block = {"kind": "stm", "kernel_in": 3, "kernel_out": 3, key: 10**9 + 1}
    assert f"'{key}' is 1000000001, more than" in refusal(block, BlockConfig)


def test_a_tone_predictor_beyond_all_bounds_is_refused() -> None:
    assert "'width' is 257, more than 256" in refusal({"tone": {"width": 257}})


def test_a_key_with_control_characters_is_shown_escaped() -> None:
    assert refusal({"\x1b[2J" * 99: 1}).isprintable()


# There and back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [TrainConfig(), *NETWORKS.values()])
def test_a_configuration_survives_json(config: Any) -> None:
    plain = json.loads(json.dumps(to_mapping(config)))
    assert from_mapping(type(config), plain, where="") == config


ODDS, SOME = st.floats(0, 10), st.floats(0.1, 10)
CONFIGS = st.builds(
    TrainConfig,
    network=st.builds(
        NetworkConfig,
        channels=st.integers(1, 3),
        width=st.integers(1, 64),
        stride=st.integers(1, 4),
        norm=st.sampled_from(["batch", "scale"]),
        padding=st.sampled_from(["reflect", "zeros"]),
        time_steps=st.integers(1, 8),
        detail_radius=st.integers(0, 8),
        blocks=st.lists(
            st.builds(
                BlockConfig,
                st.sampled_from(["stm", "ssm"]),
                st.sampled_from([1, 3, 11]),
                st.sampled_from([1, 5]),
                st.integers(1, 4),
            ),
            max_size=4,
        ).map(tuple),
    ),
    sampler=st.builds(
        SamplerConfig,
        count_odds=st.lists(SOME, min_size=1, max_size=5).map(tuple),
        odds=st.dictionaries(st.sampled_from(["blur", "stripe", "jpeg"]), SOME, min_size=1),
        average=st.booleans(),
    ),
    adversary=st.builds(
        AdversaryConfig,
        active_from=st.floats(0, 0.5),
        active_to=st.floats(0.5, 1),
        share=st.floats(0, 1),
        ascent_steps=st.integers(0, 4),
        fresh=st.booleans(),
    ),
    generator=st.builds(
        GeneratorConfig,
        rounds=st.integers(1, 8),
        bounds=st.dictionaries(
            st.sampled_from(["blur", "stripe", "jpeg"]), st.floats(0.1, 1), min_size=1
        ),
        budget=st.floats(0.1, 4),
    ),
    steps=st.integers(1, 10**6),
    crop=st.just(96),  # a multiple of every stride here
    scale_odds=st.tuples(SOME, ODDS, ODDS),
    precision=st.sampled_from(["auto", "bfloat16", "float32"]),
)


@given(CONFIGS)
def test_any_configuration_survives_plain_tables(config: TrainConfig) -> None:
    plain = json.loads(json.dumps(to_mapping(config)))
    assert from_mapping(TrainConfig, plain, where="") == config


def test_configurations_are_frozen() -> None:
    with pytest.raises(AttributeError):
        TrainConfig().steps = 3  # type: ignore[misc]
