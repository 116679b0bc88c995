"""redis-py against servers: arguments are the port and the unix socket of one, and the port of one
whose password is `secret`."""

import asyncio
import sys
import threading
import uuid

import redis
import redis.asyncio
import redis.backoff
import redis.retry


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
    assert client.set("e", "v", ex=100) is True
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


def idioms(client):
    """What strings are used for every day."""
    # A cache: computed once, then found until its time is over.
    assert client.get("page:1") is None
    assert client.set("page:1", "<html>", ex=60) is True
    assert client.get("page:1") == b"<html>"
    assert 59 <= client.ttl("page:1") <= 60

    # A lock: taken by one, released only by who holds it.
    mine, other = str(uuid.uuid4()), str(uuid.uuid4())
    assert client.set("lock", mine, nx=True, px=30_000) is True
    assert client.set("lock", other, nx=True, px=30_000) is None
    if knows(client, "delex"):
        assert client.execute_command("DELEX", "lock", "IFEQ", other) == 0
        assert client.execute_command("DELEX", "lock", "IFEQ", mine) == 1
        assert client.exists("lock") == 0

    # A rate limit: so many in a window that begins with the first.
    for count in range(1, 6):
        with client.pipeline(transaction=knows(client, "multi")) as pipeline:
            used, _ = pipeline.incr("limit:me").expire("limit:me", 60, nx=True).execute()
        assert used == count
    assert 59 <= client.ttl("limit:me") <= 60

    # Counters.
    assert client.incrby("visits", 10) == 10
    assert client.decr("visits") == 9


def transactions(client):
    if not knows(client, "multi"):
        return
    with client.pipeline() as transaction:
        transaction.set("{account}a", 100).set("{account}b", 0).set("elsewhere", "x")
        assert transaction.execute() == [True, True, True]

    def move(pipeline):
        amount = int(pipeline.get("{account}a"))
        pipeline.multi()
        pipeline.decrby("{account}a", amount)
        pipeline.incrby("{account}b", amount)
        pipeline.get("elsewhere")

    assert client.transaction(move, "{account}a", "elsewhere") == [0, 100, b"x"]

    # What was watched and changed ends the transaction.
    with client.pipeline() as transaction:
        transaction.watch("elsewhere")
        client.set("elsewhere", "y")
        transaction.multi()
        transaction.set("elsewhere", "z")
        try:
            transaction.execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("a change of a watched key was not seen")
    assert client.get("elsewhere") == b"y"

    # An error of one command leaves the others; an error while queueing ends it all.
    with client.pipeline() as transaction:
        transaction.set("word", "x").incr("word").get("word")
        replies = transaction.execute(raise_on_error=False)
    assert replies[0] is True and replies[2] == b"x", replies
    assert isinstance(replies[1], redis.ResponseError), replies
    with client.pipeline() as transaction:
        transaction.set("word", "y").execute_command("NOSUCH")
        try:
            transaction.execute()
        except redis.ResponseError:
            pass
        else:
            raise AssertionError("an unknown command was queued")
    assert client.get("word") == b"x"


def pools(port, protocol):
    """Threads share connections; nothing is lost and no reply goes astray."""
    pool = redis.BlockingConnectionPool(
        port=port, protocol=protocol, max_connections=4, timeout=30
    )
    client = redis.Redis(connection_pool=pool)
    client.delete("shared")
    failures = []

    def work(name):
        try:
            for i in range(200):
                client.incr("shared")
                client.set(f"own:{name}", i)
                assert client.get(f"own:{name}") == str(i).encode()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert client.get("shared") == b"1600"
    pool.disconnect()


async def asynchronous(port, protocol):
    client = redis.asyncio.Redis(port=port, protocol=protocol)
    await client.delete("tasks")
    await asyncio.gather(*(client.incr("tasks") for _ in range(100)))
    assert await client.get("tasks") == b"100"
    async with client.pipeline(transaction=False) as pipeline:
        assert await pipeline.set("k", "v").get("k").execute() == [True, b"v"]
    found = {key async for key in client.scan_iter(match="tas*")}
    assert found == {b"tasks"}
    await client.aclose()


def passwords(port, protocol):
    secret = redis.Redis(port=port, protocol=protocol, password="secret")
    assert secret.set("k", "v") is True
    secret.close()
    named = redis.Redis(port=port, protocol=protocol, username="default", password="secret")
    assert named.get("k") == b"v"
    named.close()
    for password in [None, "wrong"]:
        at_once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        stranger = redis.Redis(port=port, protocol=protocol, password=password, retry=at_once)
        try:
            stranger.get("k")
        except redis.AuthenticationError:
            pass
        else:
            raise AssertionError(f"let in with {password}")
        stranger.close()


def knows(client, command):
    """Whether the server has a command."""
    return bool(client.execute_command("COMMAND LIST", "FILTERBY", "PATTERN", command))


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
    port, socket, secret_port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    clients = [
        redis.Redis(port=port, protocol=2),
        redis.Redis(port=port, protocol=3),
        redis.Redis(port=port, socket_timeout=30, health_check_interval=1),
        redis.Redis(unix_socket_path=socket, protocol=2),
        redis.Redis(unix_socket_path=socket, protocol=3),
        redis.from_url(f"redis://127.0.0.1:{port}/0"),
    ]
    for client in clients:
        assert client.flushall() is True
        strings_and_expiries(client)
        pipelines(client)
        iterations(client)
        idioms(client)
        transactions(client)
        self_description(client)
        client.close()
    for protocol in (2, 3):
        pools(port, protocol)
        asyncio.run(asynchronous(port, protocol))
        passwords(secret_port, protocol)


main()
