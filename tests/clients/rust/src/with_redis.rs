//! The crate `redis`: blocking, in tasks, and from a pool.

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Client, Commands, Connection, ConnectionLike, RedisResult};

use crate::{PIPELINE_LEN, Servers};

pub(crate) async fn run(servers: &Servers) -> RedisResult<()> {
    for protocol in ["resp2", "resp3"] {
        let tcp = format!("redis://127.0.0.1:{}/?protocol={protocol}", servers.port);
        let unix = format!("redis+unix://{}?protocol={protocol}", servers.socket);
        for address in [tcp, unix] {
            let client = Client::open(address)?;
            let mut connection = client.get_connection()?;
            assert!(connection.check_connection());
            redis::cmd("FLUSHALL").exec(&mut connection)?;
            strings_and_expiries(&mut connection)?;
            pipelines(&mut connection)?;
            iterations(&mut connection)?;
            idioms(&mut connection)?;
            if knows(&mut connection, "multi")? {
                transactions(&mut connection, &mut client.get_connection()?)?;
            }
            tasks(client.get_multiplexed_async_connection().await?).await?;
            pools(client)?;
        }
        passwords(servers.secret_port, protocol)?;
    }
    Ok(())
}

fn strings_and_expiries(connection: &mut Connection) -> RedisResult<()> {
    let () = connection.set("k", "v")?;
    assert_eq!(
        connection.get::<_, Option<String>>("k")?,
        Some("v".to_owned())
    );
    assert_eq!(connection.get::<_, Option<String>>("nokey")?, None);
    let () = connection.mset(&[("a", 1), ("b", 2), ("c", 3)])?;
    assert_eq!(
        connection.mget::<_, Vec<Option<i64>>>(&["a", "nokey", "c"])?,
        [Some(1), None, Some(3)]
    );
    assert_eq!(connection.incr::<_, _, i64>("a", 41)?, 42);
    let half: f64 = connection.incr("b", 0.5)?;
    assert!((half - 2.5).abs() < 1e-9);
    assert!(connection.expire::<_, bool>("k", 100)?);
    assert!((99..=100).contains(&connection.ttl::<_, i64>("k")?));
    assert!(connection.persist::<_, bool>("k")?);
    let () = connection.rename("k", "moved")?;
    assert_eq!(connection.del::<_, i64>(&["moved", "nokey"])?, 1);
    let error = connection.incr::<_, _, i64>("b", 1);
    let error = error.expect_err("2.5 is not an integer").to_string();
    assert!(error.contains("not an integer"), "{error}");
    Ok(())
}

fn pipelines(connection: &mut Connection) -> RedisResult<()> {
    let mut pipeline = redis::pipe();
    for i in 0..PIPELINE_LEN {
        let key = format!("key:{i}");
        pipeline.set(&key, i).ignore().get(&key);
    }
    let found: Vec<i64> = pipeline.query(connection)?;
    assert!(found.into_iter().eq(0..PIPELINE_LEN));
    Ok(())
}

fn iterations(connection: &mut Connection) -> RedisResult<()> {
    let found: Vec<String> = connection
        .scan_match::<_, String>("key:*")?
        .collect::<Result<_, _>>()?;
    assert_eq!(found.len(), 5_000);
    assert_eq!(connection.keys::<_, Vec<String>>("[abc]")?.len(), 3);
    Ok(())
}

/// What strings are used for every day: a cache, a lock, a rate limit.
fn idioms(connection: &mut Connection) -> RedisResult<()> {
    assert_eq!(connection.get::<_, Option<String>>("page")?, None);
    let () = connection.set_ex("page", "<html>", 60)?;
    assert_eq!(connection.get::<_, String>("page")?, "<html>");
    let mut lock = |token: &str| -> RedisResult<Option<String>> {
        let mut command = redis::cmd("SET");
        command
            .arg("lock")
            .arg(token)
            .arg("NX")
            .arg("PX")
            .arg(30_000);
        command.query(connection)
    };
    assert!(lock("mine")?.is_some());
    assert!(lock("other")?.is_none());
    if knows(connection, "delex")? {
        let mut release = |token: &str| -> RedisResult<i64> {
            let mut command = redis::cmd("DELEX");
            command.arg("lock").arg("IFEQ").arg(token).query(connection)
        };
        assert_eq!(release("other")?, 0);
        assert_eq!(release("mine")?, 1);
    }
    for count in 1..=5 {
        let mut pipeline = redis::pipe();
        let window = pipeline.incr("limit", 1).cmd("EXPIRE");
        let used: (i64, bool) = window.arg("limit").arg(60).arg("NX").query(connection)?;
        assert_eq!(used, (count, count == 1));
    }
    Ok(())
}

fn transactions(connection: &mut Connection, other: &mut Connection) -> RedisResult<()> {
    let () = connection.set("x", 1)?;
    let mut is_first = true;
    let moved: (i64, i64) = redis::transaction(connection, &["x"], |connection, pipeline| {
        let amount: i64 = connection.get("x")?;
        if std::mem::take(&mut is_first) {
            // Somebody is in between, so this is tried again.
            let () = other.set("x", 10)?;
        }
        let moved = pipeline.decr("x", amount).incr("y", amount);
        moved.query(connection)
    })?;
    assert_eq!(moved, (0, 10));
    Ok(())
}

/// Many tasks on one connection.
async fn tasks(connection: MultiplexedConnection) -> RedisResult<()> {
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let mut connection = connection.clone();
            tokio::spawn(async move { connection.incr::<_, _, i64>("tasks", 1).await })
        })
        .collect();
    for task in tasks {
        task.await.expect("it does not panic")?;
    }
    let mut connection = connection;
    assert_eq!(connection.get::<_, i64>("tasks").await?, 100);
    Ok(())
}

/// Threads share connections.
fn pools(client: Client) -> RedisResult<()> {
    let pool = r2d2::Pool::builder().max_size(4).build(client);
    let pool = pool.expect("its connections open");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let pool = &pool;
            scope.spawn(move || {
                for i in 0..100_i64 {
                    let mut connection = pool.get().expect("one becomes free");
                    let key = format!("own:{thread}");
                    let () = connection.set(&key, i).expect("it is set");
                    assert_eq!(connection.get::<_, i64>(&key).expect("it is there"), i);
                    let _: i64 = connection.incr("shared", 1).expect("it is a number");
                }
            });
        }
    });
    let mut connection = pool.get().expect("one is free");
    assert_eq!(connection.get::<_, i64>("shared")?, 800);
    Ok(())
}

fn passwords(port: u16, protocol: &str) -> RedisResult<()> {
    for user in [":secret@", "default:secret@"] {
        let client = Client::open(format!(
            "redis://{user}127.0.0.1:{port}/?protocol={protocol}"
        ))?;
        let () = client.get_connection()?.set("k", "v")?;
    }
    for user in ["", ":wrong@"] {
        let client = Client::open(format!(
            "redis://{user}127.0.0.1:{port}/?protocol={protocol}"
        ))?;
        let outcome = client
            .get_connection()
            .and_then(|mut connection| connection.get::<_, Option<String>>("k"));
        assert!(outcome.is_err(), "let in with {user:?}");
    }
    Ok(())
}

/// Whether the server has a command.
fn knows(connection: &mut Connection, command: &str) -> RedisResult<bool> {
    let mut list = redis::cmd("COMMAND");
    list.arg("LIST").arg("FILTERBY").arg("PATTERN").arg(command);
    Ok(!list.query::<Vec<String>>(connection)?.is_empty())
}
