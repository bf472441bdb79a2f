# SPDX-License-Identifier: Apache-2.0
"""Every key of the published configuration is a field and a flag."""

import dataclasses

from common.cli import UserError, parse
from OpenPose_MindSpore_port.config import ALIASES, RECIPES, RETIRED, Config

import pytest


def parsed(*words: str) -> Config:
    return parse(Config, RECIPES, words, aliases=ALIASES, retired=RETIRED)


def test_the_published_command() -> None:
    words = "--train_dir train2017 --train_ann person_keypoints_train2017.json --need_profiler 0 --is_save_on_master 1"
    config = parsed(*words.split(), "--is_distributed", "0", "--rank", "0", "--group_size", "1")
    config.check()
    assert config == Config()


@pytest.mark.parametrize("name", RETIRED)
def test_keys_without_a_meaning_are_accepted_with_a_word(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed(f"--{name}=1") == Config()
    assert f"--{name} has no effect: " in capsys.readouterr().err


def test_names_of_paths_in_later_versions() -> None:
    config = parsed("--imgpath_train=/a/train2017", "--jsonpath_train=/b/x.json", "--maskpath_train=/c")
    assert (config.train_dir, config.train_ann, config.maskpath_train) == ("/a/train2017", "/b/x.json", "/c")
    assert parsed("--data_path=/coco").data_dir == "/coco" and parsed("--part_size=3").micro_batch_size == 3


def test_recipes_hold_together() -> None:
    fields = {field.name for field in dataclasses.fields(Config)}
    for name, values in RECIPES.items():
        assert set(values) <= fields
        parsed(f"--recipe={name}").check()
    assert set(ALIASES.values()) <= fields and not set(RETIRED) & fields


def test_the_original_rule_of_several_devices_is_a_recipe() -> None:
    config = parsed("--recipe=clip_momentum")
    assert (config.optimizer, config.train_type, config.group_params) == ("Momentum", "clip_grad", False)
    assert (config.loss_scale, config.lr_steps, config.max_epoch_train) == ("8192", (250000, 300000), 80)


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("--max_epoch_train=0", "--max_epoch_train=0"),
        ("--lr=0", "--lr=0"),
        ("--insize=100", "--insize=100"),
        ("--print_freq=0", "--log_interval=0"),
        ("--load_pretrain", "--pretrained_model_path"),
        ("--min_scale=3", "--min_scale=3"),
        ("--train_type=clip_grad --loss_scale=dynamic", "--loss_scale needs a number"),
        ("--lr_steps=20,10", "--lr_steps=20,10"),
        ("--lr_steps=-5", "--lr_steps=-5"),
    ],
)
def test_values_that_cannot_be_meant(word: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        parsed(*word.split()).check()
