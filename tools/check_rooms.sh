#!/bin/bash
# The order of the rooms and who may use which library, read from the #include lines; and no heap but base/memory.c's.
# Prints each breach as file:line and fails if there is one.
set -u
rooms=(base model growth trainer study api server)
breaches=0

breach() {
    echo "$1"
    breaches=$((breaches + 1))
}

# Every include with a directory in it names a room at or before the including file's own.
declare -A rank
for i in "${!rooms[@]}"; do
    rank[${rooms[$i]}]=$i
    [[ -d ${rooms[$i]} ]] || breach "${rooms[$i]}/: the room is missing"
done
while IFS=: read -r file line text; do
    target=${text#*\"}
    target=${target%%\"*}
    room=${file%%/*}
    if [[ $target != */* || -z ${rank[${target%%/*}]:-} ]]; then
        breach "$file:$line: \"$target\" is not rooted in a room (write \"room/noun.h\")"
    elif ((${rank[${target%%/*}]} > ${rank[$room]})); then
        breach "$file:$line: $room must not include \"$target\": ${target%%/*} is to its right"
    elif [[ ! -f $target ]]; then
        breach "$file:$line: \"$target\" does not exist"
    fi
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' --include='*.[ch]' "${rooms[@]}")

# A library's header, and an extended regular expression of the files that may include it.
while read -r header allowed; do
    while IFS=: read -r file line _; do
        [[ $file =~ ^($allowed)$ ]] || breach "$file:$line: <$header> is for $allowed only"
    done < <(grep -rnE "^[[:space:]]*#[[:space:]]*include[[:space:]]+[<\"]([A-Za-z0-9_]+/)?${header}[>\"]" --include='*.[ch]' "${rooms[@]}")
done <<'TABLE'
uv.h          server/.*|trainer/pool_uv\.c
cblas.h       model/kernels_[a-z]*blas[a-z_]*\.[ch]
sqlite3.h     server/.*
microhttpd.h  server/.*
cJSON.h       api/.*|model/config[a-z0-9_]*\.c
TABLE
blas_users=$(grep -rlE '^[[:space:]]*#[[:space:]]*include[[:space:]]+<cblas\.h>' --include='*.[ch]' "${rooms[@]}" | wc -l)
((blas_users <= 1)) || breach "<cblas.h> is included by $blas_users files; one is enough"

# Comments and strings are taken out first, so that prose may speak of malloc.
while read -r file; do
    [[ $file == base/memory.c ]] && continue
    while IFS=: read -r line text; do
        breach "$file:$line: $text: use base/memory.h"
    done < <(sed -e 's/"\(\\.\|[^"\\]\)*"/""/g' -e 's://.*::' "$file" | awk '
        { text = $0; clean = ""
          while (text != "") {
              if (inside) {
                  end = index(text, "*/")
                  if (!end) { text = "" } else { text = substr(text, end + 2); inside = 0 }
              } else {
                  start = index(text, "/*")
                  if (!start) { clean = clean text; text = "" }
                  else { clean = clean substr(text, 1, start - 1); text = substr(text, start + 2); inside = 1 }
              }
          }
          if (match(clean, /(^|[^A-Za-z0-9_])(malloc|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|strdup|strndup|asprintf|free)[ \t]*\(/))
              print NR ":" substr(clean, RSTART, RLENGTH) }')
done < <(find "${rooms[@]}" -name '*.[ch]' | sort)

echo "rooms: $breaches breaches"
((breaches == 0))
