//! WebSocket frames through HAProxy: it neither adds nor takes away anything.

use wsc_testing::autobahn;
use wsc_testing::haproxy::{PodOptions, ProxyPod};

use crate::pool::{pool, ready};

/// Messages, pings, reserved bits, opcodes, fragments, UTF-8 and closes; the others are about
/// limits and compression.
const GROUPS: [&str; 7] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*"];
const CASES: usize = 246;

#[tokio::test]
async fn autobahn_finds_nothing_through_haproxy() {
    let backends = pool(1).await.unwrap();
    let pod = ProxyPod::start(PodOptions::default(), &ready(&backends))
        .await
        .unwrap();
    let report = autobahn::play(&format!("{}/autobahn", pod.url()), &GROUPS)
        .await
        .unwrap();
    assert_eq!(report.failures(), [""; 0]);
    assert_eq!(report.0.len(), CASES);
}
