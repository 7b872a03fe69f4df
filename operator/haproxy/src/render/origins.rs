//! The origin check. It decides like [`wsc_contract::origin::OriginPolicy`], by the entries of a
//! file that change at run time.

use wsc_contract::files;
use wsc_contract::origin::{DEFAULT_PORTS, Origin};

use crate::config::Directive;
use crate::patterns::SAME_HOST;

/// One authority.
const HOST: &str = r#"^[]-~!"$-+.0->A-[-]+$"#;

/// Rejects handshakes of other origins with 403: a foreign page must not use a visitor's cookies. A
/// request without `Origin` does not come from a page. `null` and two origins never pass.
pub(super) fn check(folder: &str) -> Vec<Directive> {
    let words = Directive::words;
    let listed = |name: &str, sample: &str| {
        let file = format!("{folder}/{}", files::ORIGINS);
        Directive::new("acl", [name, sample, "-m", "reg", "-f", file.as_str()])
    };
    let mut lines = vec![
        words("acl", "has_origin req.fhdr_cnt(origin) gt 0"),
        words("acl", "two_origins req.fhdr_cnt(origin) gt 1"),
        words(
            "acl",
            &format!("long_origin req.fhdr(origin),length gt {}", Origin::MAX_BYTES),
        ),
        words("http-request", "set-var(txn.origin) req.fhdr(origin),lower"),
    ];
    lines.extend(DEFAULT_PORTS.iter().map(without_default_port));
    lines.extend(same_host());
    lines.push(listed("origin_listed", "var(txn.origin)"));
    lines.push(listed("host_listed", &format!("str({SAME_HOST})")));
    lines.push(words(
        "http-request",
        "deny deny_status 403 if has_origin !origin_listed !host_listed or has_origin !origin_listed !same_host or two_origins or long_origin",
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
        words("acl", "same_host var(txn.origin),strcmp(txn.http) eq 0"),
        words("acl", "same_host var(txn.origin),strcmp(txn.https) eq 0"),
    ]
}
