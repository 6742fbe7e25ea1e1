#!/bin/sh
# What ../mini-en.toml trains on: sh mine.sh DATA MINILM OUT [LINES [NAME...]]
#
# A sample of eleven sources of DATA, or of those named, with hard negatives by BM25 and MINILM, the folder of
# all-MiniLM-L6-v2: OUT/train, and of each source 40 queries that are not trained on: OUT/dev. A source that is there is
# left alone.
set -eu
data=$1 minilm=$2 out=$3 lines=${4:-1600}
shift "$(($# < 4 ? $# : 4))"
test $# -gt 0 || set -- codenn_so docs_questions_en epqa gitbugs medquad metatool nq_open_oracle scitldr squad_train_sentences \
    wikisql_tables wikitablequestions
mkdir -p "$out/sample" "$out/mined" "$out/dev" "$out/train"
for name in "$@"; do
    file=$name.jsonl
    test -e "$out/train/$file.gz" && continue
    gzip -dc "$data/$file.gz" > "$out/sample/all"
    shuf -n "$lines" --random-source="$out/sample/all" "$out/sample/all" > "$out/sample/$file"
    crossrank mine "$out/sample/$file" --biencoder "$minilm" --negatives 11 --into "$out/mined/$file"
    head -n 40 "$out/mined/$file" > "$out/dev/$file"
    tail -n +41 "$out/mined/$file" | gzip > "$out/train/$file.partial"
    mv "$out/train/$file.partial" "$out/train/$file.gz"
done
rm -f "$out/sample/all"
