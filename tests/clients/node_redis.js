// node-redis (the package `redis`) against servers: arguments are the port and the unix socket of
// one, and the port of one whose password is `secret`.

const assert = require("node:assert/strict");
const { createClient, createClientPool, WatchError } = require("redis");

async function stringsAndExpiries(client) {
  assert.equal(await client.ping(), "PONG");
  assert.equal(await client.set("k", "v"), "OK");
  assert.equal(await client.get("k"), "v");
  assert.equal(await client.get("nokey"), null);
  assert.equal(await client.set("k", "w", { condition: "NX" }), null);
  assert.equal(await client.set("k", "w", { GET: true }), "v");
  assert.equal(await client.mSet({ a: "1", b: "2" }), "OK");
  assert.deepEqual(await client.mGet(["a", "nokey", "b"]), ["1", null, "2"]);
  assert.equal(await client.incrBy("a", 41), 42);
  assert.equal(await client.incrByFloat("b", 0.5), "2.5");
  assert.equal(await client.append("k", "xyz"), 4);
  assert.equal(await client.getRange("k", 1, -1), "xyz");
  assert.equal(await client.expire("k", 100), 1);
  assert.ok((await client.ttl("k")) >= 99);
  assert.equal(await client.persist("k"), 1);
  assert.equal(await client.getEx("k", { type: "PX", value: 100000 }), "wxyz");
  assert.equal(await client.type("k"), "string");
  assert.equal(await client.rename("k", "moved"), "OK");
  assert.equal(await client.exists(["moved", "k", "a"]), 2);
  assert.equal(await client.getDel("moved"), "wxyz");
  assert.equal(await client.del(["moved", "nokey"]), 0);
  await assert.rejects(client.incr("b"), /not an integer/);
  await assert.rejects(client.sendCommand(["nosuch"]), /unknown command 'nosuch'/);
}

// Commands of one turn of the event loop leave together.
async function pipelines(client) {
  const sent = [];
  for (let i = 0; i < 5000; i++) {
    sent.push(client.set(`key:${i}`, String(i)), client.get(`key:${i}`));
  }
  const replies = await Promise.all(sent);
  replies.forEach((reply, index) => {
    assert.equal(reply, index % 2 === 0 ? "OK" : String((index - 1) / 2));
  });
}

async function iterations(client) {
  const found = new Set();
  for await (const keys of client.scanIterator({ MATCH: "key:*", COUNT: 500 })) {
    [keys].flat().forEach((key) => found.add(key));
  }
  assert.equal(found.size, 5000);
  assert.equal((await client.keys("key:12??")).length, 100);
  assert.equal(await client.dbSize(), 5002);
}

// What strings are used for every day: a cache, a lock, a rate limit, counters.
async function idioms(client) {
  assert.equal(await client.get("page"), null);
  assert.equal(await client.setEx("page", 60, "<html>"), "OK");
  assert.equal(await client.get("page"), "<html>");
  const lock = (token) =>
    client.set("lock", token, { condition: "NX", expiration: { type: "PX", value: 30000 } });
  assert.equal(await lock("mine"), "OK");
  assert.equal(await lock("other"), null);
  if (await knows(client, "delex")) {
    assert.equal(await client.sendCommand(["DELEX", "lock", "IFEQ", "other"]), 0);
    assert.equal(await client.sendCommand(["DELEX", "lock", "IFEQ", "mine"]), 1);
  }
  for (let count = 1; count <= 5; count++) {
    const replies = await Promise.all([client.incr("limit"), client.expire("limit", 60, "NX")]);
    assert.deepEqual(replies, [count, count === 1 ? 1 : 0]);
  }
  const counts = await Promise.all(Array.from({ length: 100 }, () => client.incr("visits")));
  assert.deepEqual(counts, Array.from({ length: 100 }, (_, index) => index + 1));
}

async function transactions(client, other) {
  if (!(await knows(client, "multi"))) {
    return;
  }
  const multi = client.multi().set("x", "1").incr("x").set("y", "z").mGet(["x", "y"]);
  assert.deepEqual(await multi.exec(), ["OK", 2, "OK", ["2", "z"]]);
  await client.watch(["x", "y"]);
  await other.set("y", "changed");
  await assert.rejects(client.multi().set("x", "0").exec(), WatchError);
  assert.equal(await client.get("x"), "2");
}

async function pools(options) {
  const pool = createClientPool(options, { minimum: 2, maximum: 4 });
  await pool.connect();
  await pool.del("shared");
  await Promise.all(Array.from({ length: 200 }, () => pool.incr("shared")));
  assert.equal(await pool.get("shared"), "200");
  await pool.close();
}

async function passwords(port, RESP) {
  const options = { RESP, socket: { port, reconnectStrategy: false } };
  for (const user of [{ password: "secret" }, { username: "default", password: "secret" }]) {
    const client = await createClient({ ...options, ...user }).connect();
    assert.equal(await client.set("k", "v"), "OK");
    await client.close();
  }
  const stranger = createClient({ ...options, password: "wrong" });
  stranger.on("error", () => {});
  await assert.rejects(stranger.connect());
}

async function knows(client, command) {
  return (await client.sendCommand(["COMMAND", "INFO", command]))[0] !== null;
}

async function main() {
  const [port, path, secretPort] = process.argv.slice(2);
  for (const RESP of [2, 3]) {
    const ways = [
      { RESP, socket: { port: Number(port) } },
      { RESP, socket: { path } },
      { RESP, url: `redis://127.0.0.1:${port}/0`, name: "me" },
    ];
    for (const options of ways) {
      const client = await createClient(options).connect();
      const other = await createClient(options).connect();
      assert.equal(await client.flushAll(), "OK");
      await stringsAndExpiries(client);
      await pipelines(client);
      await iterations(client);
      await idioms(client);
      await transactions(client, other);
      assert.match(await client.info(), /redis_version:/);
      if (options.name) {
        assert.equal(await client.clientGetName(), "me");
      }
      await pools(options);
      await client.close();
      await other.close();
    }
    await passwords(Number(secretPort), RESP);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
