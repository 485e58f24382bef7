"""Files as people have them: tickets of three classes, in any usual form."""

import json
from pathlib import Path

import pandas
from PIL import Image

WORDS = {
    "defect": "my café machine is broken",
    "delivery": "the parcel has not arrived",
    "praise": "a lovely crème brûlée set",
}


def tickets(number: int = 100) -> list[dict[str, str]]:
    """Rows under column names in capitals; one class is rarer than the others."""
    classes = ["defect", "delivery", "defect", "delivery", "praise"]
    return [
        {"Text": f"{WORDS[name]}, case {i}", "Label": name}
        for i in range(number)
        for name in [classes[i % len(classes)]]
    ]


def write(folder: Path, form: str, rows: list[dict[str, str]]) -> Path:
    """Write one file in a form: its suffix, or ``semicolon`` for what Excel saves."""
    table = pandas.DataFrame(rows)
    file = folder / f"tickets.{'csv' if form == 'semicolon' else form}"
    if form == "semicolon":
        table.to_csv(file, sep=";", encoding="latin-1", index=False)
    elif form in ("csv", "tsv"):
        table.to_csv(file, sep="\t" if form == "tsv" else ",", index=False)
    elif form == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "parquet":
        table.to_parquet(file, index=False)
    else:
        table.to_excel(file, index=False)
    return file


def texts_by_class(folder: Path, rows: list[dict[str, str]]) -> Path:
    """A folder for each class, with a text file for each row."""
    for number, row in enumerate(rows):
        place = folder / row["Label"]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:03}.txt").write_text(row["Text"], encoding="latin-1")
    return folder


def images_by_class(folder: Path, torn: int = 1) -> Path:
    """Two classes of 20 images, ``torn`` of which are no images."""
    for label, colour in (("cat", "red"), ("dog", "blue")):
        place = folder / label
        place.mkdir(parents=True)
        for index in range(20):
            Image.new("RGB", (9 + index, 8), colour).save(place / f"{index:02}.png")
    for index in range(torn):
        (folder / "cat" / f"{index:02}.png").write_bytes(b"\x89PNG, torn")
    return folder
