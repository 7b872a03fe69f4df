//! The origin check. It decides like [`wsc_contract::origin::OriginPolicy`].

use wsc_contract::origin::{DEFAULT_PORTS, Origin, OriginPattern};

use crate::config::Directive;

/// One origin of any scheme: authority characters are visible ASCII without `# , / ? @ \`. POSIX and PCRE read it alike.
const ANY: &str = r#"^[a-z][a-z0-9+.-]*://[]-~!"$-+.0->A-[-]*$"#;
/// One authority.
const HOST: &str = r#"^[]-~!"$-+.0->A-[-]+$"#;

/// Rejects handshakes of other origins with 403: a foreign page must not use a visitor's cookies. A request without `Origin` does not
/// come from a page. `null` and two origins never pass.
pub(super) fn check(origins: &[OriginPattern]) -> Vec<Directive> {
    let words = Directive::words;
    let mut lines = vec![
        words("acl", "has_origin req.fhdr_cnt(origin) gt 0"),
        words("acl", "two_origins req.fhdr_cnt(origin) gt 1"),
        words(
            "acl",
            &format!("long_origin req.fhdr(origin),length gt {}", Origin::MAX_BYTES),
        ),
        words("http-request", "set-var(txn.origin) req.fhdr(origin),lower"),
    ];
    if origins.contains(&OriginPattern::Any) {
        lines.push(matches("reg", ANY));
    } else {
        lines.extend(DEFAULT_PORTS.iter().map(without_default_port));
        lines.extend(if origins.is_empty() {
            same_host()
        } else {
            origins.iter().filter_map(listed).collect()
        });
    }
    lines.push(words(
        "http-request",
        "deny deny_status 403 if has_origin !origin_ok or two_origins or long_origin",
    ));
    lines
}

/// Browsers omit the default port, other clients and load balancers may write it.
fn without_default_port((port, schemes): &(&str, &[&str])) -> Directive {
    let origins = schemes.iter().map(|scheme| format!("{scheme}://"));
    let origins: Vec<String> = origins.collect();
    let set = format!(
        "set-var(txn.origin) var(txn.origin),regsub({port}$,) if {{ var(txn.origin) -m beg {} }}",
        origins.join(" ")
    );
    Directive::words("http-request", &set)
}

/// Of a host that is one authority: an origin that equals it is one origin.
fn same_host() -> Vec<Directive> {
    let words = Directive::words;
    vec![
        Directive::new("acl", ["host_ok", "req.fhdr(host)", "-m", "reg", HOST]),
        words(
            "http-request",
            "set-var-fmt(txn.http) http://%[req.fhdr(host),lower,regsub(:80$,)] if host_ok",
        ),
        words(
            "http-request",
            "set-var-fmt(txn.https) https://%[req.fhdr(host),lower,regsub(:443$,)] if host_ok",
        ),
        words("acl", "origin_ok var(txn.origin),strcmp(txn.http) eq 0"),
        words("acl", "origin_ok var(txn.origin),strcmp(txn.https) eq 0"),
    ]
}

fn listed(pattern: &OriginPattern) -> Option<Directive> {
    match pattern {
        OriginPattern::Any => None,
        OriginPattern::Exact(origin) => Some(matches("str", &origin.to_string())),
        OriginPattern::Subdomain(parent) => Some(matches("reg", &subdomain(parent))),
    }
}

fn subdomain(parent: &Origin) -> String {
    let escape = |text: &str| text.replace('.', r"\.").replace('+', r"\+");
    let (scheme, authority) = (escape(parent.scheme()), escape(parent.authority()));
    format!(r"^{scheme}://[a-z0-9_-]+\.{authority}$")
}

fn matches(method: &str, pattern: &str) -> Directive {
    Directive::new("acl", ["origin_ok", "var(txn.origin)", "-m", method, pattern])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subdomain_patterns_escape_dots() {
        let parent = "my.app+x://example.org:8443".parse().unwrap();
        assert_eq!(
            subdomain(&parent),
            r"^my\.app\+x://[a-z0-9_-]+\.example\.org:8443$"
        );
    }
}
