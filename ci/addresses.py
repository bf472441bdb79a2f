# SPDX-License-Identifier: Apache-2.0
"""The public addresses inside the project's files, as the ModelZoo's public_address_statement.md lists them.

    python ci/addresses.py

writes one statement for the whole project and one into each model directory. Tests call no public address, so they are
left out. A host that PURPOSES lacks ends in one line.
"""

import re
from collections.abc import Iterator

import project

STATEMENT = "public_address_statement.md"
ADDRESS = re.compile(
    r"(?:https?|ftp)://[A-Za-z0-9][^\s\"'`<>()\[\]{}|\\,;*]*|[\w.+-]+@[\w-]+\.(?:com|org|net|cn|edu)\b"
)
# reserved for documents and tests (RFC 2606, RFC 6761), and this machine
RESERVED = re.compile(
    r"^(?:https?://)?(?:[\w.-]*\.)?(?:example(?:\.\w+)?|localhost|invalid|test|127\.0\.0\.1)(?:[:/]|$)|@example\."
)
PURPOSES = {
    "www.apache.org": "许可证",
    "arxiv.org": "论文",
    "github.com": "参考实现的说明页，或下载公布的权重",
    "gitee.com": "参考实现的说明页",
    "download.01.org": "下载公布的权重",
    "drive.google.com": "下载公布的权重",
    "drive.usercontent.google.com": "下载公布的权重",
    "download.mindspore.cn": "下载公布的预训练权重",
    "download.openmmlab.com": "下载公布的预训练权重",
    "download.pytorch.org": "安装 PyTorch，或下载预训练权重",
    "www.w3.org": "SVG 的 XML 命名空间，不访问",
    "pytorch.org": "权重的说明页",
    "json-schema.org": "JSON Schema 的版本标识，不访问",
}
HEAD = """# 公网地址说明

| 类型 | 开源代码地址 | 文件名 | 公网IP地址/公网URL地址/域名/邮箱地址 | 用途说明 |
|---|---|---|---|---|
"""
OURS = "开发引入"


def addresses() -> dict[str, list[str]]:
    """Each tracked text file that has public addresses, and these."""
    texts = [
        name for name in project.files() if not (name.endswith((STATEMENT, ".jpg", ".png")) or project.is_test(name))
    ]
    found = {name: sorted(set(_of(name))) for name in texts}
    return {name: listed for name, listed in found.items() if listed}


def _of(name: str) -> Iterator[str]:
    for address in ADDRESS.findall(project.text(name)):
        if not RESERVED.search(address):
            yield address.rstrip(".:/#")


def purpose(address: str) -> str:
    """What an address is for. Raises SystemExit for a host whose purpose is not listed."""
    host = address.partition("://")[2].partition("/")[0]
    if host not in PURPOSES:
        raise SystemExit(f"error: {address}: say in PURPOSES of ci/addresses.py what {host or 'it'} is for")
    return PURPOSES[host]


def statements() -> dict[str, str]:
    """Name of each statement and its text."""
    found = addresses()
    texts = {STATEMENT: _table(found, "")}
    return texts | {f"{model}/{STATEMENT}": _table(found, f"{model}/") for model in project.model_directories()}


def _table(found: dict[str, list[str]], below: str) -> str:
    rows = [
        f"| {OURS} | / | {name.removeprefix(below)} | {address} | {purpose(address)} |\n"
        for name, listed in found.items()
        if name.startswith(below)
        for address in listed
    ]
    return HEAD + "".join(rows)


def main() -> None:
    """Writes all statements."""
    for name, text in statements().items():
        (project.ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
