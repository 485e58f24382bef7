"""Files of columns as they come: quotes, codes, separators at the end, encodings."""

import csv

import pytest

from ilora_app.settings import DataSettings
from ilora_app.tasks import delimited, sources
from ilora_app.tasks.labels import label_names
from ilora_app.tasks.sources import DataError


def rows_of(file, text: str, encoding: str = "utf-8") -> dict[str, list]:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text.encode(encoding))
    return sources._opened(str(file), "")["train"].to_dict()


def test_quotes_in_a_file_with_tabs_are_a_part_of_its_texts(tmp_path):
    texts = [f"row {i}" for i in range(40)]
    texts[5], texts[20], texts[30] = '"Great, he said', 'end" of it', '"good" they say'
    lines = [f"{text}\t{i % 2}" for i, text in enumerate(texts)]
    found = rows_of(tmp_path / "a.tsv", "\n".join(["text\tlabel", *lines, ""]))
    assert found == {"text": texts, "label": [i % 2 for i in range(40)]}


@pytest.mark.parametrize("form", ["tsv", "csv"])
def test_texts_in_quotes_are_read_as_they_were_written(tmp_path, form):
    texts = ['he "said" it', "two\nlines", "a\ttab", "plain", '"all of it"', ""]
    file = tmp_path / f"a.{form}"
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened, delimiter="\t")
        writer.writerows([("text", "label"), *((text, "x") for text in texts)])
    found = rows_of(file, file.read_text())["text"]
    assert found == [*texts[:-1], None]


@pytest.mark.parametrize(
    "codes", [("000", "010", "10"), ("1E1", "1E2", "10"), ("+01", "1", "-01")]
)
def test_codes_that_look_like_numbers_are_classes_as_they_stand(tmp_path, codes):
    values = [*codes, ""] * 10
    text = "text,label,size\n" + "".join(f"w,{value},7\n" for value in values)
    found = rows_of(tmp_path / "a.csv", text)
    assert found["label"] == [value or None for value in values]
    assert found["size"] == [7] * 40


def test_numbers_stay_numbers(tmp_path):
    text = "text,a,b,c\nw,0,0.5,1e-05\nw,-1,00.25,1E+05\nw,10,0,2.5e3\n"
    found = rows_of(tmp_path / "a.csv", text)
    assert found["a"] == [0, -1, 10]
    assert found["b"] == [0.5, 0.25, 0]
    assert found["c"] == [1e-5, 1e5, 2500]


def test_a_code_in_one_file_of_a_folder_is_one_in_all(tmp_path):
    for name, values in (("train", ("010", "020")), ("test", ("100", "200"))):
        text = "".join(f"w {value},{value}\n" for value in values)
        (tmp_path / f"{name}.csv").write_text("text,label\n" + text)
    settings = DataSettings(dataset=str(tmp_path), label_column="label")
    assert label_names(settings, 0) == ("010", "020", "100", "200")


def test_a_separator_at_the_end_of_rows_shifts_no_column(tmp_path):
    text = "text,label,source\n" + "words,a,web,\n" * 3 + "\n"
    found = rows_of(tmp_path / "a.csv", text)
    assert found == {"text": ["words"] * 3, "label": ["a"] * 3, "source": ["web"] * 3}


def test_rows_with_more_columns_than_names_are_refused(tmp_path):
    text = "text,label\nwell, yes,good\nno,bad\n"
    with pytest.raises(DataError, match="row 1 has 3 columns, and the first") as told:
        rows_of(tmp_path / "a.csv", text)
    assert "quotes around a text that has ',' in it" in str(told.value)


def test_numbers_of_rows_as_r_writes_them_are_no_column_that_is_refused(tmp_path):
    text = '"text","label"\n"1","good",3\n"2","bad",4\n'
    found = rows_of(tmp_path / "a.csv", text)
    assert (found["text"], found["label"]) == (["good", "bad"], [3, 4])


def test_every_file_of_a_folder_is_read_in_its_own_way(tmp_path):
    forms = {"train": (",", "utf-8"), "test": (";", "cp1252"), "val": (",", "utf-16")}
    for name, (sign, encoding) in forms.items():
        lines = [f"Grüße {i}{sign}{i % 2}" for i in range(4)]
        text = "\n".join([f"text{sign}label", *lines, ""])
        (tmp_path / f"{name}.csv").write_bytes(text.encode(encoding))
    found = sources._opened(str(tmp_path), "")
    assert sorted(found) == ["test", "train", "validation"]
    for rows in found.values():
        assert rows["text"][:] == [f"Grüße {i}" for i in range(4)]
        assert rows["label"][:] == [0, 1, 0, 1]


def test_a_table_that_would_be_in_two_splits_is_refused(tmp_path):
    (tmp_path / "train_test.csv").write_text("text,label\nw,a\n")
    with pytest.raises(DataError, match="of the splits train and test by its name"):
        sources._opened(str(tmp_path), "")


def test_a_long_text_is_no_error(tmp_path):
    text = f"text,label\n{'long ' * 40_000},007\n"
    (tmp_path / "a.csv").write_text(text)
    assert delimited.layout(tmp_path / "a.csv").codes == {"label"}
    assert csv.field_size_limit() == 131_072
