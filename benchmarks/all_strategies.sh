#!/usr/bin/env bash
# Every strategy, without correction and with control variates, on two data sets.
#
#   ILORA_SHARED=DATA benchmarks/all_strategies.sh OUT
#
# DATA/ag_news holds the parquet files of AG News. Stopped, it goes on where it was. One
# seed finds the two best rates of a row, all three seeds decide between them; a first
# pass over all rates is for the bound that needs far smaller ones.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1

# ilora in its published form, and with what was learned cut and added.
ilora=ilora+cut=product+decomposition=qr+aggregate=products
rows="all+drift-correction=none,$ilora+drift-correction=none"
for name in ilora $ilora fedit ffa-lora lora-fair hetlora flexlora fedex-lora rolora fedsa-lora lora-a2; do
    rows+=",$name+drift-correction=control-variates"
done
rows+=",flora+drift-correction=control-variates+control-scope=head"
rows+=",$ilora+control-scope=head,$ilora+control-scope=factors,$ilora+residual=merge"

compare() { # data set, rows, presets, more options
    ilora compare --out "$out/$1" --strategies "$2" --presets "$3" \
        --lr-from "$1-dirichlet-0.1" --lr 0.0001,0.0003,0.001,0.003,0.01,0.03 \
        --seeds 3 --clients 4 --engine local "${@:4}"
}

for data in clinc150 ag-news; do
    strong=benchmarks/configs/$data-dirichlet-0.1.toml
    mild=benchmarks/configs/$data-dirichlet-0.3.toml
    compare "$data" fedavg-full+drift-correction=none "$strong"
    compare "$data" "$rows" "$strong,$mild" --lr-search near --lr-finalists 2
done
