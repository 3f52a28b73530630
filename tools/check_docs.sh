#!/bin/bash
# The documents say what the code says: generated blocks are what the tables give, files that the text names in backticks
# exist, and so do the targets of links.
set -u
breaches=0
breach() {
    echo "$1"
    breaches=$((breaches + 1))
}

docs=${LAG_BINARY:-build/release/lag}
docs=${docs%/lag}/tools/docs
read -r -a generated < <(sed -n 's/^DOCUMENTS := //p' Makefile)
if [[ -x $docs ]]; then
    "$docs" --check "${generated[@]}" || breach "run: make docs"
else
    breach "$docs is missing; make docs builds it"
fi

mapfile -t documents < <(find README.md docs -name '*.md' | sort)
rooms='base|model|growth|trainer|study|api|server|tests|tools|docs'
for document in "${documents[@]}"; do
    # `study/knee.h`, `tests/server/`: any run of such characters that begins with a room and a slash.
    while read -r path; do
        compgen -G "$path" >/dev/null || breach "$document: \`$path\` does not exist"
    done < <(grep -oE "\`($rooms)/[A-Za-z0-9_./*-]*\`" "$document" | tr -d '`' | sort -u)
    # [text](file#place): from the document's own directory.
    while read -r target; do
        [[ $target == http* || -z ${target%%#*} ]] && continue
        [[ -e $(dirname "$document")/${target%%#*} ]] || breach "$document: the link to $target leads nowhere"
    done < <(grep -oE '\]\([^) ]+\)' "$document" | sed 's/^](//; s/)$//' | sort -u)
done
echo "docs: $breaches breaches"
((breaches == 0))
