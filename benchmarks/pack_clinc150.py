"""Make the packaged data set from a folder with all of CLINC150 (parquet).

    python benchmarks/pack_clinc150.py FOLDER

Takes the same number of rows of every domain, drawn with seed 0: 5,000 for training,
1,500 for validation and 1,500 for the test. The same folder gives the same files.
"""

import json
import sys
from pathlib import Path

import datasets

OUT = Path(__file__).parent.parent / "ilora_app" / "data" / "clinc150"
ROWS = {"train": 5000, "validation": 1500, "test": 1500}


def main(folder: str) -> None:
    """Write one .jsonl file a split."""
    loaded = datasets.load_dataset(folder)
    for split, rows in ROWS.items():
        data = loaded[split].shuffle(seed=0)
        names = {c: data.features[c].names for c in ("intent", "domain")}
        left = dict.fromkeys(names["domain"], rows // len(names["domain"]))
        lines = []
        for row in data:
            domain = names["domain"][row["domain"]]
            if left[domain] == 0:
                continue
            left[domain] -= 1
            intent = names["intent"][row["intent"]]
            lines.append({"text": row["text"], "intent": intent, "domain": domain})
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (OUT / f"{split}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
