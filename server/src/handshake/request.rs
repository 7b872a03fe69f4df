//! Checks of a handshake's method and headers.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use sha1::{Digest, Sha1};
use wsc_contract::headers;

use super::refusal::Refusal;

/// RFC 6455, section 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest proxy name that is recorded, in bytes: that of a Kubernetes object.
const MAX_VIA_BYTES: usize = 253;

/// Whether the request asks for a WebSocket as RFC 6455 wants it, without a subprotocol.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_upgrade(method: &Method, version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    if method != Method::GET {
        return Err(Refusal::Method);
    }
    let websocket = has_token(headers, &header::UPGRADE, "websocket");
    let thirteen = single(headers, &header::SEC_WEBSOCKET_VERSION) == Some(b"13");
    if version != Version::HTTP_11 || !websocket || !thirteen {
        return Err(Refusal::UpgradeRequired);
    }
    // Frames follow the headers; a proxy would parse them as a request body (request smuggling).
    let length = headers.get(header::CONTENT_LENGTH);
    if headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|l| l != "0") {
        return Err(Refusal::BadRequest("a handshake request must not have a body"));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(Refusal::BadRequest("the Connection header must contain Upgrade"));
    }
    if !single(headers, &header::SEC_WEBSOCKET_KEY).is_some_and(is_nonce) {
        return Err(Refusal::BadRequest(
            "exactly one Sec-WebSocket-Key of 16 bytes in base64 is required",
        ));
    }
    // RFC 9112, section 3.2: routing and origin check must not depend on which of them is read.
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Err(Refusal::BadRequest("more than one Host header"));
    }
    if headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return Err(Refusal::BadRequest("subprotocols are not supported"));
    }
    Ok(())
}

/// Whether the request is meant for this pod, or for no pod in particular.
pub fn is_for(pod: Option<&str>, headers: &HeaderMap) -> bool {
    match (pod, headers.get(headers::SERVER)) {
        (Some(pod), Some(meant)) => meant.as_bytes() == pod.as_bytes(),
        _ => true,
    }
}

/// The proxy that the request came through, if it names itself like a Kubernetes object.
pub fn via(headers: &HeaderMap) -> Option<&str> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    let via = headers.get(headers::VIA)?.to_str().ok()?;
    ((1..=MAX_VIA_BYTES).contains(&via.len()) && via.bytes().all(allowed)).then_some(via)
}

/// The client's address as the proxy saw it: the last entry of `X-Forwarded-For`, which only the
/// proxy can have written.
pub fn forwarded_for(headers: &HeaderMap) -> Option<&str> {
    let last = headers.get_all(headers::FORWARDED_FOR).iter().next_back()?;
    last.to_str()
        .ok()?
        .rsplit(',')
        .next()
        .map(str::trim)
        .filter(|a| !a.is_empty())
}

/// The value of a header that was given exactly once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values
        .flat_map(|v| v.split(','))
        .any(|t| t.trim().eq_ignore_ascii_case(token))
}

/// The value of `Sec-WebSocket-Accept` for a key: RFC 6455, section 4.2.2.
pub fn accept(key: &[u8]) -> HeaderValue {
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize();
    // Base64 is what a header may hold.
    HeaderValue::from_str(&BASE64.encode(digest)).unwrap_or(HeaderValue::from_static(""))
}

fn is_nonce(key: &[u8]) -> bool {
    let (digits, padding) = key.split_at(key.len().saturating_sub(2));
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || *b == b'+' || *b == b'/';
    digits.len() == 22 && padding == b"==" && digits.iter().all(base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("name");
            map.append(name, HeaderValue::from_str(value).expect("value"));
        }
        map
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        assert_eq!(
            accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn handshakes() {
        let check = |method, version, pairs: &[(&str, &str)]| {
            check_upgrade(&method, version, &headers(pairs)).map_err(Refusal::status)
        };
        assert_eq!(check(Method::GET, Version::HTTP_11, &GOOD), Ok(()));
        assert_eq!(check(Method::POST, Version::HTTP_11, &GOOD), Err(405));
        assert_eq!(check(Method::GET, Version::HTTP_10, &GOOD), Err(426));
        let status = |index: usize, value: &str| {
            let mut pairs = GOOD;
            pairs[index].1 = value;
            check(Method::GET, Version::HTTP_11, &pairs).expect_err("refused")
        };
        assert_eq!(status(0, "close"), 400);
        assert_eq!(status(1, "h2c"), 426);
        assert_eq!(status(2, "8"), 426);
        assert_eq!(status(3, "short"), 400);
        assert_eq!(status(3, "dGhlIHNhbXBsZSBub25j!!=="), 400);
        let beside = |name, value| {
            check(
                Method::GET,
                Version::HTTP_11,
                &[&GOOD[..], &[(name, value)]].concat(),
            )
        };
        assert_eq!(beside("sec-websocket-protocol", "soap"), Err(400));
        assert_eq!(beside("sec-websocket-key", GOOD[3].1), Err(400), "twice");
        assert_eq!(beside("sec-websocket-version", "13"), Err(426), "twice");
        assert_eq!(beside("transfer-encoding", "chunked"), Err(400));
        assert_eq!(beside("content-length", "5"), Err(400));
        assert_eq!(beside("content-length", "0"), Ok(()));
    }

    #[test]
    fn identity_and_via() {
        let meant = headers(&[("x-wsc-server", "chat-1")]);
        assert!(
            is_for(Some("chat-1"), &meant) && is_for(None, &meant) && is_for(Some("chat-1"), &headers(&[]))
        );
        assert!(!is_for(Some("chat-2"), &meant));
        assert_eq!(
            via(&headers(&[("x-wsc-via", "chat-proxy-6f.x")])),
            Some("chat-proxy-6f.x")
        );
        for bad in ["", "A", "a b", "a\"b", &"x".repeat(254)] {
            assert_eq!(via(&headers(&[("x-wsc-via", bad)])), None, "{bad}");
        }
    }

    #[test]
    fn only_the_last_forwarded_entry_counts() {
        let forged = headers(&[
            ("x-forwarded-for", "6.6.6.6, 10.0.0.9"),
            ("x-forwarded-for", "7.7.7.7, 10.0.0.1 "),
        ]);
        assert_eq!(forwarded_for(&forged), Some("10.0.0.1"));
        assert_eq!(forwarded_for(&headers(&[("x-forwarded-for", "")])), None);
    }
}
