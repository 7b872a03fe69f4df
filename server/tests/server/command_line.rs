//! Output and exit codes of the program's command line.

use std::process::{Output, Stdio};

use tokio::process::Command;
use tokio::time::timeout;

use crate::{SOON, alone, program};

/// Runs the program with nothing but these arguments and variables, to its end.
async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program());
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied());
    command.stdin(Stdio::null()).kill_on_drop(true);
    timeout(SOON, command.output()).await.expect("it ends").unwrap()
}

/// Arguments, variables, words of the output.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);

const WRONG: &[Case<'_>] = &[
    (&[], &[], &["--redis-url redis://HOST:6379", "--broker memory"]),
    (&["--broker", "redis"], &[], &["WSC_REDIS_URL"]),
    (
        &[],
        &[("WSC_BROKER", "redis"), ("WSC_REDIS_URL", "")],
        &["WSC_REDIS_URL"],
    ),
    (
        &[],
        &[("POD_NAME", "chat-1")],
        &["WSC_BROKER=redis", "WSC_BROKER=memory"],
    ),
    (
        &["--redis-url", "redis://h"],
        &[("POD_NAME", "chat-1")],
        &["WSC_BROKER"],
    ),
    (&["--broker", "kafka"], &[], &["--broker", "redis", "memory"]),
    (
        &["--broker", "memory"],
        &[("WSC_OUTBOX_BYTES", "1048576")],
        &["WSC_OUTBOX_BYTES is now WSC_OUTBOUND_QUEUE_BYTES"],
    ),
    (
        &["--broker", "memory"],
        &[("WSC_BUS", "memory")],
        &["WSC_BUS is now WSC_BROKER"],
    ),
    (&["--redis-url", "http://h"], &[], &["redis://", "rediss://"]),
    (
        &["--redis-url", "redis://h", "--redis-prefix", "a b"],
        &[],
        &["--redis-prefix", "wsc:"],
    ),
    (&["--no-such-flag"], &[], &["--no-such-flag", "--help"]),
    (&["--broker", "memory", "stray"], &[], &["stray"]),
    (
        &["--broker", "memory", "--port", "70000"],
        &[],
        &["--port (WSC_PORT) must be 0 to 65535; received \"70000\""],
    ),
    (
        &["--broker", "memory", "--max-connections", "0"],
        &[],
        &["--max-connections", "1 to 1000000"],
    ),
    (
        &["--broker", "memory"],
        &[("WSC_MAX_CONNECTIONS", "many")],
        &["--max-connections (WSC_MAX_CONNECTIONS) must be 1 to 1000000; received \"many\""],
    ),
    (&["--broker", "memory", "--path", "ws"], &[], &["--path", "/NAME"]),
    (&["--broker", "memory", "--path", "/wsc/x"], &[], &["/wsc"]),
    (
        &["--broker", "memory", "--origins", "example.org"],
        &[],
        &["--origins", "scheme://host"],
    ),
    (
        &["--broker", "memory", "--close-code", "1005"],
        &[],
        &["--close-code", "1012"],
    ),
    (
        &["--broker", "memory", "--max-sheds-per-second", "0"],
        &[],
        &["--max-sheds-per-second", "above 0"],
    ),
    (
        &["--broker", "memory", "--max-message-bytes", "0"],
        &[],
        &["--max-message-bytes (WSC_MAX_MESSAGE_BYTES) must be 1 to 16777216; received \"0\""],
    ),
    (
        &["--broker", "memory", "--outbound-queue-bytes", "10"],
        &[],
        &[
            "--outbound-queue-bytes (WSC_OUTBOUND_QUEUE_BYTES) must be 65610",
            "67108864; received \"10\"",
        ],
    ),
    (
        &["--broker", "memory", "--drain-seconds", "-1"],
        &[],
        &["--drain-seconds (WSC_DRAIN_SECONDS) must be 0 to 86400; received \"-1\""],
    ),
    (
        &["--broker", "memory", "--trust-proxy", "maybe"],
        &[],
        &["--trust-proxy", "true", "false"],
    ),
];

#[tokio::test]
async fn failed_start_names_remedy_in_one_line() {
    for (arguments, variables, words) in WRONG {
        let output = run(arguments, variables).await;
        let said = String::from_utf8(output.stderr).unwrap();
        let what = format!("{arguments:?} {variables:?}: {said:?}");
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(2), 0),
            "{what}"
        );
        assert!(
            said.starts_with("wsc-server: ") && said.ends_with('\n') && said.lines().count() == 1,
            "{what}"
        );
        for word in *words {
            assert!(said.contains(word), "{word}: {what}");
        }
    }
}

#[tokio::test]
async fn failed_start_repeats_no_secret() {
    for url in [
        "redis://user:hunter2@",
        "rediss://:hunter2@h:99999/0",
        "postgres://u:hunter2@h",
    ] {
        let output = run(&["--broker", "redis"], &[("WSC_REDIS_URL", url)]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn raw_password_in_redis_url_needs_encoding() {
    for password in [
        "hunt/er2",
        "hunt#er2",
        "hunt?er2",
        "hunt@er2",
        "hunter2%",
        "p@ss/w#rd%",
    ] {
        let url = format!("redis://user:{password}@127.0.0.1:6379/0");
        let output = run(&["--broker", "redis"], &[("WSC_REDIS_URL", &url)]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("WSC_REDIS_URL") && said.contains("percent-encoded"),
            "{said}"
        );
        assert!(!said.contains("hunt") && !said.contains("p@ss"), "{said}");
    }
}

#[tokio::test]
async fn help_explains_every_flag_and_keeps_secrets() {
    let output = run(
        &["--help"],
        &[
            ("WSC_REDIS_PASSWORD", "hunter2"),
            ("WSC_REDIS_URL", "redis://:hunter2@h"),
        ],
    )
    .await;
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty() && !help.contains("hunter2"),
        "{help}"
    );
    // Each flag, with its variable and a sentence below or beside it.
    let flags: Vec<&str> = help
        .lines()
        .filter(|l| l.trim_start().starts_with("--"))
        .collect();
    assert!(flags.len() >= 20, "{help}");
    for (line, text) in help
        .lines()
        .enumerate()
        .filter(|(_, l)| l.trim_start().starts_with("--"))
    {
        let until_next = help
            .lines()
            .skip(line + 1)
            .take_while(|l| !l.trim_start().starts_with("--"));
        let all: String = std::iter::once(text).chain(until_next).collect();
        assert!(
            all.contains("[env: ") && all.split_whitespace().count() >= 8,
            "{all}"
        );
    }
    let version = run(&["--version"], &[]).await;
    let expected = format!("wsc-server {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let server = alone(&[]).await;
    let port = server.port().to_string();
    let output = run(
        &["--broker", "memory", "--port", &port, "--control-port", "0"],
        &[],
    )
    .await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("port {port}")), "{said}");
}
