//! The crate `fred`: a client, its pipelines and transactions, and a pool.

use std::collections::BTreeSet;

use fred::prelude::*;
use fred::types::{ClusterHash, CustomCommand, ExpireOptions, RespVersion};

use crate::{PIPELINE_LEN, Servers};

pub(crate) async fn run(servers: &Servers) -> FredResult<()> {
    for version in [RespVersion::RESP2, RespVersion::RESP3] {
        let tcp = ServerConfig::new_centralized("127.0.0.1", servers.port);
        let unix = ServerConfig::new_unix_socket(&servers.socket);
        for server in [tcp, unix] {
            let config = Config {
                server,
                version: version.clone(),
                fail_fast: true,
                ..Config::default()
            };
            let client = Builder::from_config(config.clone()).build()?;
            client.init().await?;
            client.flushall::<()>(false).await?;
            strings_and_expiries(&client).await?;
            pipelines(&client).await?;
            iterations(&client).await?;
            idioms(&client).await?;
            if knows(&client, "multi").await? {
                transactions(&client).await?;
            }
            client.quit().await?;
            pools(config).await?;
        }
        passwords(servers.secret_port, version).await?;
    }
    Ok(())
}

async fn strings_and_expiries(client: &Client) -> FredResult<()> {
    client.set::<(), _, _>("k", "v", None, None, false).await?;
    assert_eq!(
        client.get::<Option<String>, _>("k").await?,
        Some("v".to_owned())
    );
    assert_eq!(client.get::<Option<String>, _>("nokey").await?, None);
    client.mset(vec![("a", 1), ("b", 2), ("c", 3)]).await?;
    let found: Vec<Option<i64>> = client.mget(vec!["a", "nokey", "c"]).await?;
    assert_eq!(found, [Some(1), None, Some(3)]);
    assert_eq!(client.incr_by::<i64, _>("a", 41).await?, 42);
    let half: f64 = client.incr_by_float("b", 0.5).await?;
    assert!((half - 2.5).abs() < 1e-9);
    assert!(client.expire::<bool, _>("k", 100, None).await?);
    assert!((99..=100).contains(&client.ttl::<i64, _>("k").await?));
    assert!(client.persist::<bool, _>("k").await?);
    client.rename::<(), _, _>("k", "moved").await?;
    assert_eq!(client.del::<i64, _>(vec!["moved", "nokey"]).await?, 1);
    let error = client.incr::<i64, _>("b").await;
    let error = error.expect_err("2.5 is not an integer").to_string();
    assert!(error.contains("not an integer"), "{error}");
    Ok(())
}

async fn pipelines(client: &Client) -> FredResult<()> {
    let pipeline = client.pipeline();
    for i in 0..PIPELINE_LEN {
        let key = format!("key:{i}");
        pipeline.set::<(), _, _>(&key, i, None, None, false).await?;
        pipeline.get::<(), _>(&key).await?;
    }
    let replies: Vec<Value> = pipeline.all().await?;
    let found = replies.iter().skip(1).step_by(2).map(Value::as_i64);
    assert!(found.eq((0..PIPELINE_LEN).map(Some)));
    Ok(())
}

async fn iterations(client: &Client) -> FredResult<()> {
    let mut cursor = "0".to_owned();
    let mut found = BTreeSet::new();
    loop {
        let (next, keys): (String, Vec<String>) =
            client.scan_page(cursor, "key:*", Some(500), None).await?;
        found.extend(keys);
        if next == "0" {
            break;
        }
        cursor = next;
    }
    assert_eq!(found.len(), 5_000);
    Ok(())
}

/// What strings are used for every day: a cache, a lock, a rate limit, counters.
async fn idioms(client: &Client) -> FredResult<()> {
    let minute = Some(Expiration::EX(60));
    client
        .set::<(), _, _>("page", "<html>", minute, None, false)
        .await?;
    assert_eq!(client.get::<String, _>("page").await?, "<html>");
    let lock = async |token: &str| -> FredResult<Option<String>> {
        let until = Some(Expiration::PX(30_000));
        client
            .set("lock", token, until, Some(SetOptions::NX), false)
            .await
    };
    assert!(lock("mine").await?.is_some());
    assert!(lock("other").await?.is_none());
    if knows(client, "delex").await? {
        let release = async |token: &str| -> FredResult<i64> {
            let command = CustomCommand::new_static("DELEX", ClusterHash::FirstKey, false);
            client.custom(command, vec!["lock", "IFEQ", token]).await
        };
        assert_eq!(release("other").await?, 0);
        assert_eq!(release("mine").await?, 1);
    }
    for count in 1..=5 {
        assert_eq!(client.incr::<i64, _>("limit").await?, count);
        let is_new: bool = client.expire("limit", 60, Some(ExpireOptions::NX)).await?;
        assert_eq!(is_new, count == 1);
    }
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.incr::<i64, _>("visits").await })
        })
        .collect();
    for task in tasks {
        task.await.expect("it does not panic")?;
    }
    assert_eq!(client.get::<i64, _>("visits").await?, 100);
    Ok(())
}

async fn transactions(client: &Client) -> FredResult<()> {
    let transaction = client.multi();
    transaction
        .set::<(), _, _>("x", 1, None, None, false)
        .await?;
    transaction.incr::<(), _>("x").await?;
    transaction.get::<(), _>("key:7").await?;
    let replies: (String, i64, i64) = transaction.exec(true).await?;
    assert_eq!(replies, ("OK".to_owned(), 2, 7));
    Ok(())
}

async fn pools(config: Config) -> FredResult<()> {
    let pool = Builder::from_config(config).build_pool(4)?;
    pool.init().await?;
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.incr::<i64, _>("shared").await })
        })
        .collect();
    for task in tasks {
        task.await.expect("it does not panic")?;
    }
    assert_eq!(pool.get::<i64, _>("shared").await?, 200);
    pool.quit().await
}

async fn passwords(port: u16, version: RespVersion) -> FredResult<()> {
    for (username, password, is_right) in [
        (None, Some("secret"), true),
        (Some("default"), Some("secret"), true),
        (None, Some("wrong"), false),
    ] {
        let config = Config {
            server: ServerConfig::new_centralized("127.0.0.1", port),
            version: version.clone(),
            username: username.map(str::to_owned),
            password: password.map(str::to_owned),
            fail_fast: true,
            ..Config::default()
        };
        let client = Builder::from_config(config).build()?;
        let outcome = match client.init().await {
            Ok(_) => client.set::<(), _, _>("k", "v", None, None, false).await,
            Err(error) => Err(error),
        };
        assert_eq!(outcome.is_ok(), is_right, "{outcome:?} with {password:?}");
        // The one that was refused has nothing to end.
        let _ = client.quit().await;
    }
    Ok(())
}

/// Whether the server has a command.
async fn knows(client: &Client, name: &'static str) -> FredResult<bool> {
    let command = CustomCommand::new_static("COMMAND", ClusterHash::Random, false);
    let filter = vec!["LIST", "FILTERBY", "PATTERN", name];
    let found: Vec<String> = client.custom(command, filter).await?;
    Ok(!found.is_empty())
}
