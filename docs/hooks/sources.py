"""Make the site whole: README as its first page, and the files that pages link to.

Pages link to files of the repository that lie outside ``docs``, which a site has no
place for. Each becomes a file of the site under ``source/``; a linked folder becomes a
page that lists what is in it.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# [text](target#anchor), of a picture too.
_LINK = re.compile(r"(\]\()([^)#\s:]+)([^)\s]*\))")
SHOWN = "source"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the first page, and what is linked from it or another page."""
    root = Path(config.config_file_path).parent
    home = File.generated(config, "index.md", abs_src_path=str(root / "README.md"))
    files.append(home)
    pages = [file for file in files.documentation_pages() if file.src_uri != "index.md"]
    texts = {file.src_uri: file.content_string for file in pages}
    texts["index.md"] = (root / "README.md").read_text()
    linked = {
        _in_repository(target, uri)
        for uri, text in texts.items()
        for _, target, _ in _LINK.findall(text)
    }
    for path in sorted(path for path in linked if _outside(path)):
        for file in _shown(root, path, config):
            if files.get_file_from_path(file.src_uri) is None:
                files.append(file)
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Point links that leave ``docs`` at what ``on_files`` has added."""
    root = Path(config.config_file_path).parent
    uri = page.file.src_uri
    if uri.startswith(SHOWN):
        return markdown

    def moved(match: re.Match[str]) -> str:
        before, target, behind = match.groups()
        path = _in_repository(target, uri)
        if not (root / path).exists():
            return match.group()  # code, or a mistake that the build then names
        return f"{before}{relpath(_in_site(root, path), _folder(uri))}{behind}"

    return _LINK.sub(moved, markdown)


def _folder(uri: str) -> str:
    return str(PurePosixPath(uri).parent)


def _in_repository(target: str, uri: str) -> str:
    """What a link of a page means, from the root of the repository."""
    folder = "" if uri == "index.md" else f"docs/{_folder(uri)}"
    return normpath(f"{folder}/{target}".lstrip("/"))


def _outside(path: str) -> bool:
    return not path.startswith(("docs/", "..")) and path != "README.md"


def _in_site(root: Path, path: str) -> str:
    if path == "README.md":
        return "index.md"
    if not _outside(path):
        return path.removeprefix("docs/")
    return (
        f"{SHOWN}/{path}/index.md" if (root / path).is_dir() else f"{SHOWN}/{path}.txt"
    )


def _shown(root: Path, path: str, config: MkDocsConfig) -> list[File]:
    """A file as it is, or a page with those of a folder; nothing where nothing is."""
    source = root / path
    if source.is_file():
        uri = _in_site(root, path)
        return [File.generated(config, uri, abs_src_path=str(source))]
    if not source.is_dir():
        return []
    inside = [
        file.relative_to(root).as_posix()
        for file in sorted(source.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    ]
    here = f"{SHOWN}/{path}"
    lines = [
        f"- [{Path(f).relative_to(path)}]({relpath(_in_site(root, f), here)})"
        for f in inside
    ]
    page = File.generated(
        config, _in_site(root, path), content=f"# `{path}`\n\n" + "\n".join(lines)
    )
    return [page, *(file for f in inside for file in _shown(root, f, config))]
