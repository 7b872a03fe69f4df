//! What the tests of other packages rely on of their Redis.

use wsc_testing::redis::Redis;

#[tokio::test]
async fn restarted_redis_is_empty_on_its_port() {
    let mut redis = Redis::start_with(&["--databases", "3"]).await.unwrap();
    let port = redis.port();
    redis.cli(&["SET", "k", "v"]).await.unwrap();
    assert_eq!(redis.cli(&["GET", "k"]).await.unwrap(), "v");
    assert_eq!(
        redis.cli(&["CONFIG", "GET", "databases"]).await.unwrap(),
        "databases\n3"
    );
    redis.stop().await.unwrap();
    assert!(redis.cli(&["PING"]).await.is_err());
    redis.restart().await.unwrap();
    assert_eq!(
        (redis.port(), redis.cli(&["GET", "k"]).await.unwrap()),
        (port, String::new())
    );
}

#[tokio::test]
async fn rejected_argument_error_quotes_redis() {
    let error = Redis::start_with(&["--no-such-option", "1"]).await.unwrap_err();
    assert!(error.to_string().contains("ended with"), "{error:#}");
}
