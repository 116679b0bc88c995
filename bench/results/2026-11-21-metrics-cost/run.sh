#!/bin/bash
# A B A B: the same load with nobody looking (A) and with a scrape and the page's question every second (B).
# Usage: run.sh BIN ROUNDS OUT.csv      server on CPU 0, client on CPU 1
BIN=$1 ROUNDS=$2 OUT=$3
echo "round,kind,requests_per_second,cpu_us_per_command,p99_us" > $OUT
taskset -c 0 $BIN --port 7931 --metrics-port 7932 --shards 1 --cpus 0 --maxmemory 512mb 2>/dev/null & S=$!
sleep 0.7
cpu() { awk '{print $14+$15}' /proc/$S/stat; }
cmds() { redis-cli -p 7931 info stats | tr -d '\r' | awk -F: '/total_commands_processed/{print $2}'; }
taskset -c 1 redis-benchmark -p 7931 -q -n 200000 -r 100000 -d 64 -t set -P 16 > /dev/null
for r in $(seq $ROUNDS); do for k in A B; do
  W=; if [ $k = B ]; then ( while :; do curl -s http://127.0.0.1:7932/metrics > /dev/null; curl -s http://127.0.0.1:7932/live.json > /dev/null; sleep 1; done ) & W=$!; fi
  c0=$(cpu) n0=$(cmds)
  rps=$(taskset -c 1 redis-benchmark -p 7931 --csv -n 400000 -r 100000 -d 64 -t get -c 50 -P 1 | tail -1 | tr -d '"')
  c1=$(cpu) n1=$(cmds)
  [ -n "$W" ] && kill $W
  echo "$rps" | awk -F, -v r=$r -v k=$k -v c=$((c1-c0)) -v n=$((n1-n0)) '{printf "%d,%s,%s,%.4f,%s\n", r,k,$2,c*10000/n,$7*1000}' >> $OUT
done; done
kill $S; wait $S 2>/dev/null
