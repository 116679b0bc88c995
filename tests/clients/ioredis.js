// ioredis against a server: arguments are its port and its unix socket.

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

async function main() {
  const [port, path] = process.argv.slice(2);
  const ways = [
    { port: Number(port) },
    { path },
    { port: Number(port), enableAutoPipelining: true, connectionName: "me", db: 0 },
  ];
  for (const options of ways) {
    const client = new Redis({ ...options, maxRetriesPerRequest: 0, retryStrategy: null });
    assert.equal(await client.flushall(), "OK");
    await stringsAndExpiries(client);
    await pipelines(client);
    await iterations(client);
    assert.match(await client.info(), /redis_version:/);
    if (options.connectionName) {
      assert.equal(await client.client("GETNAME"), "me");
    }
    assert.equal(await client.quit(), "OK");
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
