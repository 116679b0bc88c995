// ioredis against servers: arguments are the port and the unix socket of one, and the port of one
// whose password is `secret`.

const assert = require("node:assert/strict");
const Redis = require("ioredis");

async function stringsAndExpiries(client) {
  assert.equal(await client.ping(), "PONG");
  assert.equal(await client.set("k", "v"), "OK");
  assert.equal(await client.get("k"), "v");
  assert.equal(await client.get("nokey"), null);
  assert.equal(await client.set("k", "w", "NX"), null);
  assert.equal(await client.mset({ a: 1, b: 2 }), "OK");
  assert.deepEqual(await client.mget("a", "nokey", "b"), ["1", null, "2"]);
  assert.equal(await client.incrby("a", 41), 42);
  assert.equal(await client.incrbyfloat("b", 0.5), "2.5");
  const bytes = Buffer.from([0, 255, 13, 10]);
  await client.set("bytes", bytes);
  assert.deepEqual(await client.getBuffer("bytes"), bytes);
  assert.equal(await client.expire("k", 100), 1);
  assert.ok((await client.ttl("k")) >= 99);
  assert.equal(await client.persist("k"), 1);
  assert.equal(await client.rename("k", "moved"), "OK");
  assert.equal(await client.exists("moved", "k", "a"), 2);
  assert.equal(await client.del("moved", "bytes", "nokey"), 2);
  await assert.rejects(client.incr("b"), /not an integer/);
  await assert.rejects(client.call("nosuch", "x"), /unknown command 'nosuch'/);
}

async function pipelines(client) {
  const pipeline = client.pipeline();
  for (let i = 0; i < 5000; i++) {
    pipeline.set(`key:${i}`, i).get(`key:${i}`);
  }
  const replies = await pipeline.exec();
  assert.equal(replies.length, 10000);
  replies.forEach(([error, reply], index) => {
    assert.equal(error, null);
    assert.equal(reply, index % 2 === 0 ? "OK" : String((index - 1) / 2));
  });
}

async function iterations(client) {
  const found = new Set();
  for await (const keys of client.scanStream({ match: "key:*", count: 500 })) {
    keys.forEach((key) => found.add(key));
  }
  assert.equal(found.size, 5000);
  assert.equal((await client.keys("key:12??")).length, 100);
  assert.equal(await client.dbsize(), 5002);
}

// What strings are used for every day: a cache, a lock, a rate limit, counters.
async function idioms(client) {
  assert.equal(await client.get("page"), null);
  assert.equal(await client.set("page", "<html>", "EX", 60), "OK");
  assert.equal(await client.get("page"), "<html>");
  assert.equal(await client.set("lock", "mine", "PX", 30000, "NX"), "OK");
  assert.equal(await client.set("lock", "other", "PX", 30000, "NX"), null);
  if (await knows(client, "delex")) {
    assert.equal(await client.call("DELEX", "lock", "IFEQ", "other"), 0);
    assert.equal(await client.call("DELEX", "lock", "IFEQ", "mine"), 1);
  }
  for (let count = 1; count <= 5; count++) {
    const replies = await client.pipeline().incr("limit").expire("limit", 60, "NX").exec();
    assert.deepEqual(replies, [[null, count], [null, count === 1 ? 1 : 0]]);
  }
  const counts = await Promise.all(Array.from({ length: 100 }, () => client.incr("visits")));
  assert.deepEqual(counts, Array.from({ length: 100 }, (_, index) => index + 1));
}

async function transactions(client, other) {
  if (!(await knows(client, "multi"))) {
    return;
  }
  const replies = await client.multi().set("x", 1).incr("x").set("y", "z").mget("x", "y").exec();
  assert.deepEqual(replies, [[null, "OK"], [null, 2], [null, "OK"], [null, ["2", "z"]]]);
  await client.watch("x", "y");
  await other.set("y", "changed");
  assert.equal(await client.multi().set("x", 0).exec(), null);
  assert.equal(await client.get("x"), "2");
  const [, failed, done] = await client.multi().set("x", "w").incr("x").get("x").exec();
  assert.match(failed[0].message, /not an integer/);
  assert.deepEqual(done, [null, "w"]);
  await assert.rejects(client.multi().set("x", 1).call("nosuch").exec(), /EXECABORT/);
  assert.equal(await client.get("x"), "w");
}

async function passwords(port, protocol) {
  const quiet = { port, protocol, maxRetriesPerRequest: 0, retryStrategy: null };
  for (const options of [{ password: "secret" }, { username: "default", password: "secret" }]) {
    const client = new Redis({ ...quiet, ...options });
    assert.equal(await client.set("k", "v"), "OK");
    await client.quit();
  }
  const stranger = new Redis(quiet);
  stranger.on("error", () => {});
  await assert.rejects(stranger.get("k"));
  stranger.disconnect();
}

async function knows(client, command) {
  return (await client.call("COMMAND", "INFO", command))[0] !== null;
}

async function main() {
  const [port, path, secretPort] = process.argv.slice(2);
  const ways = [
    { port: Number(port) },
    { port: Number(port), protocol: 2 },
    { port: Number(port), protocol: 3 },
    { path, protocol: 2 },
    { path, protocol: 3 },
    { port: Number(port), enableAutoPipelining: true, connectionName: "me", db: 0 },
  ];
  for (const options of ways) {
    const all = { ...options, maxRetriesPerRequest: 0, retryStrategy: null };
    const client = new Redis(all);
    const other = new Redis(all);
    assert.equal(await client.flushall(), "OK");
    await stringsAndExpiries(client);
    await pipelines(client);
    await iterations(client);
    await idioms(client);
    if (!options.enableAutoPipelining) {
      await transactions(client, other);
    }
    assert.match(await client.info(), /redis_version:/);
    if (options.connectionName) {
      assert.equal(await client.client("GETNAME"), "me");
    }
    assert.equal(await client.quit(), "OK");
    assert.equal(await other.quit(), "OK");
  }
  for (const protocol of [2, 3]) {
    await passwords(Number(secretPort), protocol);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
