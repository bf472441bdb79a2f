# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D103  a test says in its name what it checks
"""Every command in a README can be typed: its script is there and knows its flags."""

import re

import project
import pytest
import readme_commands

PAGES = [name for name in project.files() if name.endswith(".md") and not name.startswith("ci/results/")]


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page(page: str) -> None:
    assert not readme_commands.complaints(page)


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_page(page: str) -> None:
    targets = re.findall(r"\]\((?![a-z]+:|#)([^)\s#]+)", project.text(page))
    assert not [target for target in targets if not (project.ROOT / page).parent.joinpath(target).exists()]


FENCED = re.compile(r"^```(?:bash|python|yaml)\n.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("folder", ["", *(f"{model}/" for model in project.model_directories())])
def test_the_chinese_page_has_the_same_commands(folder: str) -> None:
    english, chinese = (FENCED.findall(project.text(f"{folder}{name}")) for name in ("README.md", "README_zh.md"))
    assert chinese == english, f"copy the blocks that differ from {folder}README.md into README_zh.md"


def test_the_pages_that_hold_commands_have_some() -> None:
    for page in ("README.md", *(f"{model}/README.md" for model in project.model_directories())):
        assert list(readme_commands.commands(page)), page


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("bash ci/quickstart.sh", ""),
        ("bash ci/quickstart.sh --data_path=/data/coco --epochs=2", ""),
        ("bash ci/quickstart.sh --fast", "unknown flags --fast"),
        ("bash ci/test.sh", ""),
        ("bash ci/absent.sh", "ci/absent.sh is not there"),
        ("bash Lightweight_OpenPose/test/train_full_8p.sh --data_path=<COCO> --step=1 --ranks=4 --workers=8", ""),
        ("bash Lightweight_OpenPose/test/eval.sh --lr=1", "unknown flags --lr"),
        ("cd Lightweight_OpenPose && bash test/eval.sh --step=1", ""),
        ("cd Lightweight_OpenPose\npython scripts/make_val_subset.py --labels x --output-name y  # 250 images", ""),
        ("DRY_RUN=1 bash Lightweight_OpenPose/test/eval.sh \\\n  --checkpoint=x", "unknown flags --checkpoint"),
        ("python -m Lightweight_OpenPose.train --data_path=mini --recipe=smoke", ""),
        ("python -m Lightweight_OpenPose.tain", "Lightweight_OpenPose/tain.py is not there"),
        ("git clone https://example.com/pose_zoo && cd pose_zoo && bash ci/test.sh", ""),
        ("curl https://example.com | bash", "neither bash, python nor a known word of the shell"),
    ],
)
def test_complaints(command: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page, text = "README.md", project.text
    block = f"Words.\n\n```bash\n{command}\n```\n"
    monkeypatch.setattr(project, "text", lambda name: block if name == page else text(name))
    found = readme_commands.complaints(page)
    assert [complaint.split("`: ")[1] for complaint in found[:1]] == ([problem] if problem else [])
