"""redis-py against a server: arguments are its port and its unix socket."""

import sys

import redis


def strings_and_expiries(client):
    assert client.ping() is True
    assert client.set("k", b"\x00\xffv") is True
    assert client.get("k") == b"\x00\xffv"
    assert client.get("nokey") is None
    assert client.set("k", "w", nx=True) is None
    assert client.set("k", "w", get=True) == b"\x00\xffv"
    assert client.mset({"a": 1, "b": 2}) is True
    assert client.mget("a", "nokey", "b") == [b"1", None, b"2"]
    assert client.incr("a", 41) == 42
    assert client.incrbyfloat("b", 0.5) == 2.5
    assert client.append("k", "xyz") == 4
    assert client.strlen("k") == 4
    assert client.getrange("k", 1, -1) == b"xyz"
    assert client.setrange("k", 1, "-") == 4
    assert client.expire("k", 100) is True
    assert 99 <= client.ttl("k") <= 100
    assert client.persist("k") is True
    assert client.getex("k", px=100_000) == b"w-yz"
    assert 99_000 <= client.pttl("k") <= 100_000
    assert client.type("k") == b"string"
    assert client.rename("k", "moved") is True
    assert client.copy("moved", "again") is True
    assert client.exists("moved", "again", "k") == 2
    assert client.getdel("moved") == b"w-yz"
    assert client.delete("again", "nokey") == 1
    assert client.setex("e", 100, "v") is True
    assert client.dbsize() == 3
    assert client.object("encoding", "a") == b"int"
    try:
        client.incr("e")
    except redis.ResponseError as error:
        assert "not an integer" in str(error), error
    else:
        raise AssertionError("INCR of a word succeeded")


def pipelines(client):
    with client.pipeline(transaction=False) as pipeline:
        for i in range(5_000):
            pipeline.set(f"key:{i}", i)
            pipeline.get(f"key:{i}")
        replies = pipeline.execute()
    assert len(replies) == 10_000
    assert replies[0::2] == [True] * 5_000
    assert replies[1::2] == [str(i).encode() for i in range(5_000)]
    with client.pipeline(transaction=False) as pipeline:
        pipeline.get("key:1").incr("word").set("word", "x").incr("word").get("key:2")
        replies = pipeline.execute(raise_on_error=False)
    assert replies[0] == b"1" and replies[4] == b"2"
    assert isinstance(replies[3], redis.ResponseError), replies


def iterations(client):
    found = set(client.scan_iter(match="key:*", count=500))
    assert found == {f"key:{i}".encode() for i in range(5_000)}
    assert sorted(client.keys("key:123?")) == [f"key:123{i}".encode() for i in range(10)]
    assert client.randomkey() is not None


def self_description(client):
    client.client_setname("me")
    assert client.client_getname() in ("me", b"me")
    assert client.client_id() > 0
    assert any(entry["name"] == "me" for entry in client.client_list())
    info = client.info()
    assert info["redis_version"] and info["db0"]["keys"] > 0, info
    assert client.config_get("maxmemory")["maxmemory"]
    assert client.config_set("timeout", 0) is True
    assert "get" in {name.lower() for name in client.command()}
    assert isinstance(client.time()[0], int)
    assert client.echo("hello") == b"hello"


def main():
    port, socket = int(sys.argv[1]), sys.argv[2]
    clients = [
        redis.Redis(port=port),
        redis.Redis(port=port, protocol=3),
        redis.Redis(port=port, protocol=2, socket_timeout=30, health_check_interval=1),
        redis.Redis(unix_socket_path=socket),
        redis.from_url(f"redis://127.0.0.1:{port}/0"),
    ]
    for client in clients:
        assert client.flushall() is True
        strings_and_expiries(client)
        pipelines(client)
        iterations(client)
        self_description(client)
        client.close()


main()
