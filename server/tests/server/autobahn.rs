//! Conformance: all cases of the Autobahn test suite, echoed by a raw room on the road that every
//! message takes.

use std::fs;
use std::path::Path;

use wsc_testing::autobahn;

use crate::alone;

/// All cases of release 25.10.1.
const CASES: usize = 517;
/// What is published of a run.
const DOCUMENT: &str = "../docs/conformance.md";

const INTRODUCTION: &str = "# Conformance

The [Autobahn test suite](https://github.com/crossbario/autobahn-testsuite) 25.10.1 runs 517 cases of RFC 6455 against the shipped server. None
fails. Each message is delivered through a room, like any message; the message limit is raised to 16 MiB for groups 9.1 and 9.2.
Groups 12 and 13 are about compression, which the server does not offer. Groups 1 to 7 run through HAProxy too, with the same result.

Generated from a run of `WSC_UPDATE_DOCS=1 cargo xtask test component autobahn`; every run of the tests compares it.

";

#[tokio::test]
async fn every_case_of_autobahn_is_passed() {
    let server = alone(&[
        ("WSC_MAX_MESSAGE_BYTES", "16777216"),
        ("WSC_OUTBOUND_QUEUE_BYTES", "67108864"),
    ])
    .await;
    let report = autobahn::play(&server.url("/ws/autobahn"), &["*"]).await.unwrap();
    assert_eq!(report.failures(), [""; 0]);
    assert_eq!(report.0.len(), CASES);
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let wanted = INTRODUCTION.to_owned() + &report.table();
    if std::env::var_os("WSC_UPDATE_DOCS").is_some() {
        fs::write(&document, &wanted).unwrap();
    }
    let published = fs::read_to_string(&document).unwrap_or_default();
    assert_eq!(published, wanted, "docs/conformance.md is out of date");
}
