import socket,sys,time
host,port,label=('127.0.0.1',int(sys.argv[1]),sys.argv[2])
def crc(b):
    c=0
    for x in b:
        c^=x<<8
        for _ in range(8): c=((c<<1)^0x1021 if c&0x8000 else c<<1)&0xffff
    return c
s=socket.create_connection((host,port)); s.setsockopt(socket.IPPROTO_TCP,socket.TCP_NODELAY,1)
def ask(r,n=65536):
    s.send(r); return s.recv(n)
info=b''
s.send(b'INFO\r\n')
while b'db0' not in info and b'core1:' not in info: info+=s.recv(65536)
time.sleep(0.2); s.setblocking(False)
try: info+=s.recv(65536)
except BlockingIOError: pass
s.setblocking(True)
core=[l for l in info.decode().split('\r\n') if l.startswith('core') and 'connections=1' in l][0]
own=int(core[4])
tag={}
i=0
while len(tag)<2:
    t=b'%04d'%i; tag.setdefault(crc(t)%16384*2//16384,t); i+=1
keys={sh:b'{%s}key:000000'%t for sh,t in tag.items()}
for k in keys.values(): assert len(k)==16; ask(b'SET %s abcdefgh\r\n'%k)
reqs={sh:b'*2\r\n$3\r\nGET\r\n$16\r\n%s\r\n'%k for sh,k in keys.items()}
times={0:[],1:[]}
pc=time.perf_counter_ns
for block in range(200):
    sh=block%2; r=reqs[sh]; t=times[sh]
    for _ in range(200):
        a=pc(); s.send(r); s.recv(64); t.append(pc()-a)
def q(v,p): v=sorted(v); return v[int(len(v)*p)]/1000
o,f=times[own],times[1-own]
print("%s,%.1f,%.1f,%.3f,%.1f,%.1f"%(label,q(o,.5),q(f,.5),q(f,.5)/q(o,.5),q(o,.99),q(f,.99)))
