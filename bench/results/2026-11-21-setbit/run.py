"""SETBIT at random places of a value of 1 KiB and of 100 MiB: server CPU and time per command."""
import os, random, socket, subprocess, sys, tempfile, time
SIZES = [("1 KiB", 1 << 10), ("100 MiB", 100 << 20)]
TICK = 1e6 / os.sysconf("SC_CLK_TCK")
def cpu_ns(pid):
    return sum(int(open(f"/proc/{pid}/task/{t}/schedstat").read().split()[0]) for t in os.listdir(f"/proc/{pid}/task"))
def request(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
def connect(port):
    for _ in range(20000):
        try:
            s = socket.create_connection(("127.0.0.1", port)); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.sendall(request(b"PING"))
            if s.recv(100).startswith(b"+PONG"): return s
        except OSError: pass
    raise SystemExit("no server")
def drive(s, batches, depth):
    times = []
    for batch in batches:
        t = time.perf_counter_ns(); s.sendall(batch); got = 0
        while got < 4 * depth: got += len(s.recv(1 << 16))
        times.append(time.perf_counter_ns() - t)
    return times
d = tempfile.mkdtemp()
servers = {}
os.sched_setaffinity(0, {0})
extra = sys.argv[1:] and ["--dir", d] or []
for name, words in [("coremap", ["target/release/coremap", "serve", "--port", "7911", "--shards", "1", "--cpus", "0", "--maxmemory", "1gb"] + extra),
                    ("redis", ["redis-server", "--port", "7912", "--save", "", "--appendonly", "no", "--dir", d])]:
    servers[name] = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
os.sched_setaffinity(0, {1})
try:
    socks = {"coremap": connect(7911), "redis": connect(7912)}
    for s in socks.values():
        for label, size in SIZES:
            s.sendall(request(b"SETBIT", label.encode(), b"%d" % (size * 8 - 1), b"0")); s.recv(100)
    rng = random.Random(1)
    print("round,server,value,pipeline,commands,server_cpu_ns,wall_ns,p50_ns,p99_ns,max_ns")
    for rnd in range(1, 6):
        for name, s in socks.items():
            for label, size in SIZES:
                for depth, count in [(1, 10000), (1000, 200)]:
                    batches = [b"".join(request(b"SETBIT", label.encode(), b"%d" % rng.randrange(size * 8), b"%d" % rng.randrange(2)) for _ in range(depth)) for _ in range(count)]
                    before = cpu_ns(servers[name].pid)
                    times = drive(s, batches, depth)
                    spent = cpu_ns(servers[name].pid) - before
                    n = depth * count; t = sorted(times)
                    print(f"{rnd},{name},{label},{depth},{n},{spent/n:.0f},{sum(times)/n:.0f},{t[len(t)//2]/depth:.0f},{t[len(t)*99//100]/depth:.0f},{t[-1]/depth:.0f}", flush=True)
finally:
    for p in servers.values(): p.terminate()
    for p in servers.values(): p.wait()
    subprocess.run(["rm", "-r", d])
