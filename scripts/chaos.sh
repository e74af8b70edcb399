#!/usr/bin/env bash
# Kills, storms and neighbours: about ten minutes with the settings here, all kill points with CHAOS_STRIDE=1, more storms with
# SEEDS=200 (or SEEDS=4-200: these storms and nothing else). They are played side by side, in JOBS processes, storms with an
# operator whose clock runs SPEED times as fast: most of the time all wait. JOBS=1 plays one after the other.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# How many storms of each scenario are many: then they are nearly all there is to play.
MANY=10
# What is played beside storms, in parts that take about as long.
KILLS=(overflow,resize regret disks,move,adopt,removal,definitions neighbours,certificate,full,quota,restarts,clock,silence)

export INNKEEPER_CACHE=$CACHE PATH=$BIN:$PATH
export CHAOS_STRIDE=${CHAOS_STRIDE:-14} CHAOS_SEEDS=${SEEDS:-3}
[[ $CHAOS_SEEDS =~ ^[0-9]+(-[0-9]+)?$ ]] || die "SEEDS is $CHAOS_SEEDS: write 200, or 4-200"
case $CHAOS_SEEDS in
  *-*) first=${CHAOS_SEEDS%-*} last=${CHAOS_SEEDS#*-} parts=() ;;
  *) first=1 last=$CHAOS_SEEDS parts=("0 ${CHAOS_SCENARIOS:-}") ;;
esac
jobs=${JOBS:-$(($(nproc) * 3))} speed=${SPEED:-4}
[[ $jobs =~ ^[1-9][0-9]*$ ]] || die "JOBS is $jobs: write how many processes, 1 or more"
[[ $speed =~ ^[1-9]$ ]] || die "SPEED is $speed: write how many times as fast, 1 to 9"
export CHAOS_SPEED=$speed
if [ $((last - first)) -lt $MANY ] && [ "$jobs" -gt ${#KILLS[@]} ] && [ ${#parts[@]} = 1 ] && [ -z "${CHAOS_SCENARIOS:-}" ]; then
  parts=("${KILLS[@]/#/0 }")
fi

"$ROOT/scripts/setup.sh"
# One scenario, and SPEED, set the operator's clock; it is left alone where the library cannot be had.
(ensure faketime faketime "to set the operator's clock") || true
cd "$ROOT"
# The simulators stand beside the operator; --workspace keeps the dependencies' features as the tests have them.
"$ROOT/scripts/build.sh" >/dev/null
if [ "$jobs" -le 1 ] || [ -n "${CHAOS_REPLAY:-}" ]; then
  exec cargo test --workspace --locked --test chaos
fi

# In one group, which is read to its end before it begins: it lasts long enough for somebody to edit this file meanwhile.
{
# Some processes play what is no storm, the others a part of the storms each.
jobs=$((jobs - ${#parts[@]}))
each=$(((last - first + jobs) / jobs))
for ((from = first; from <= last; from += each)); do
  to=$((from + each - 1))
  parts+=("$from-$((to < last ? to : last)) ${CHAOS_SCENARIOS:-}")
done
cargo test --workspace --locked --test chaos --no-run
logs=$(mktemp -d)
for part in "${parts[@]}"; do
  # How it ended stands in its log: a shell forgets what became of a child when another process gets its number.
  {
    code=0
    CHAOS_SEEDS=${part%% *} CHAOS_SCENARIOS=${part#* } cargo test --workspace --locked --test chaos || code=$?
    echo "ended: $code"
  } >"$logs/$part" 2>&1 &
done
# Adds up the numbers of {"one": 1, "two": 2} by their names.
sums() {
  tr -d '{}"' | tr ',' '\n' | awk -F': ' 'NF == 2 {sub(/^ +/, "", $1); sum[$1] += $2} END {for (name in sum) print name ": " sum[name]}' |
    sort | paste -sd, | sed 's/,/, /g'
}
played() { cat "$logs"/* | grep -c "^chaos: .*: \(ok\|VIOLATION\)" || true; }
while [ -n "$(jobs -pr)" ]; do
  sleep 20
  say "$(played) runs played, violations so far: $(cat "$logs"/* | grep -c ": VIOLATION" || true)"
done
failed=$({ grep -L "^ended: 0$" "$logs"/* || true; } | wc -l)
grep -h "VIOLATION\|again with" "$logs"/* || true
grep -h -A1 "panicked" "$logs"/* || true
for part in "${parts[@]}"; do
  echo "seeds $part: $(grep "^scenarios: " "$logs/$part"), $(grep "^runs: " "$logs/$part")"
  grep "^faults by kind: " "$logs/$part" || true
done
echo "in all: runs: $(played), storms: $(
  sed -n 's/^scenarios: .*storms: //p' "$logs"/* | awk '{sum += $1} END {print sum + 0}'
), kill points: $(
  sed -n 's/^scenarios: .*kill points: \({.*}\).*/\1/p' "$logs"/* | sums
)"
echo "in all: faults by kind: $(sed -n 's/^faults by kind: //p' "$logs"/* | sums)"
violations=$(awk '/^violations: /{sum += $2} END {print sum + 0}' "$logs"/*)
# A process that ended without its sum has not shown anything.
[ "$(cat "$logs"/* | grep -c "^violations: ")" = "${#parts[@]}" ] || die "a part ended early: see $logs"
[ "$failed" = 0 ] && [ "$violations" = 0 ] && rm -r "$logs" || echo "the logs are in $logs"
echo "violations: $violations"
[ "$failed" = 0 ] && [ "$violations" = 0 ]
exit
}
