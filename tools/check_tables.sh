#!/bin/bash
# Tables and the code that fills them agree: every fault point of base/fault.h stands somewhere in the sources, and every
# FAULT_POINT(...) there is in the list.
set -u
listed=$(sed -n '/^#define FAULT_POINTS(X)/,/[^\\]$/s/.*X(\([a-z_]*\)).*/\1/p' base/fault.h | sort)
used=$(find model growth trainer study api server -name '*.c' -exec grep -ohE 'FAULT_POINT\([a-z_]+\)|FAULT_AT_[a-z_]+' {} + |
    sed 's/.*(\(.*\))/\1/; s/FAULT_AT_//' | sort -u)
breaches=0
while read -r side name; do
    [[ -n $name ]] || continue
    echo "FAULT_POINT($name): $side"
    breaches=$((breaches + 1))
done < <(
    comm -23 <(echo "$listed") <(echo "$used") | sed 's/^/in_the_list_but_nowhere_in_the_code /'
    comm -13 <(echo "$listed") <(echo "$used") | sed 's/^/in_the_code_but_not_in_the_list /'
)
[[ -n $listed ]] || { echo "base/fault.h: no list of fault points found"; breaches=$((breaches + 1)); }
[[ $(echo "$listed" | uniq -d) == "" ]] || { echo "base/fault.h: a fault point is listed twice"; breaches=$((breaches + 1)); }
echo "tables: $breaches breaches"
((breaches == 0))
