"""What others are handed names no home folder: pages, tables, cards."""

from pathlib import Path

import pytest
import tomli_w

from ilora_app.compare import report as comparison
from ilora_app.compare.request import Request
from ilora_app.report import page, privacy_page
from ilora_app.runs.card import card
from ilora_app.runs.places import from_home
from ilora_app.settings import Settings, parsing
from tests.made_up import entry, fail, finish, plan, rounds
from tests.report_folder import hard_folder


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    place = tmp_path / "it's <me> & ü"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    return place


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}/a/b.csv", "~/a/b.csv"),
        ("x={}/a, '{}/b c'; {}/d", "x=~/a, '~/b c'; ~/d"),
        ("{}", "{}"),
        ("{}.bak/a /srv{}/a https://x{}/a", "{}.bak/a /srv{}/a https://x{}/a"),
        ("/srv/data owner/name data.csv", "/srv/data owner/name data.csv"),
    ],
)
def test_a_path_under_home_is_from_there(home, text, expected):
    assert from_home(text.replace("{}", str(home))) == expected.replace("{}", str(home))


@pytest.mark.parametrize("home", ["/", "", "relative"])
def test_a_home_of_nobody_is_left_alone(monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    assert from_home("/etc/x relative/x") == "/etc/x relative/x"


def test_a_home_behind_a_link_is_known_by_both_its_names(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    assert from_home(f"{tmp_path}/real/a {tmp_path}/link/a") == "~/a ~/a"


def test_the_pages_of_a_run(home):
    folder = hard_folder(home / "runs" / "one", clients=2, rounds=2)
    settings = parsing.dump(Settings())
    settings |= {"dataset": str(home / "data.csv"), "model": str(home / "models" / "m")}
    (folder / "config.toml").write_text(tomli_w.dumps(settings))
    made = page.text(folder, over=True).replace("<wbr>", "")
    assert "check ~/data.csv" in made
    assert made.count("~/data.csv") == 3  # on top and in the config as well
    privacy_page.write(folder)
    for name in ("privacy.html", "privacy.json"):
        made += (folder / name).read_text()
        assert "~/models/m" in made
    assert f"{home.parent}/" not in made


def test_the_files_of_a_comparison(home):
    data = str(home / "data.csv")
    rows = entry(), entry(f"ilora+dataset={data}", dataset=data)
    made = plan(home / "out", *rows, seeds=1)
    finish(made.job(made.entries[0], 0.003, 0), rounds(0.1, 0.2))
    fail(made.job(made.entries[1], 0.003, 0), f"dataset = {data}: there is none")
    comparison.write(made, Request(set=(f"dataset={data}",)), draft=True)
    for name in ("index.html", "table.md", "table.csv", "table.tex"):
        text = (home / "out" / name).read_text()
        assert "/data.csv" in text, name
        assert f"{home.parent}/" not in text, name


def test_the_card_of_an_adapter(home):
    settings, problems = parsing.parse({"model": f"{home}/m", "dataset": f"{home}/d"})
    assert not problems
    text = card(settings, ("a", "b"), 4, {})
    assert f"{home.parent}/" not in text
    assert 'from_pretrained(expanduser("~/m"), config' in text
    assert text.index("import expanduser") < text.index("expanduser(")
    elsewhere = card(parsing.parse({"model": "owner/name"})[0], (), 4, {})
    assert 'from_pretrained("owner/name", config' in elsewhere
    assert "expanduser" not in elsewhere
