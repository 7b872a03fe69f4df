//! Kubernetes quantities, as far as defaults of resources need them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const MEBIBYTE: u64 = 1 << 20;

/// What a container asks for where the resource does not say.
pub(crate) struct Defaults {
    pub(crate) cpu_request_millis: u64,
    pub(crate) memory_request_mebibytes: u64,
    pub(crate) memory_limit_mebibytes: u64,
}

/// Fills in what the user left out. A default never contradicts what the user said: a request stays
/// at or below a given limit, and a memory limit at or above a given request.
pub(crate) fn with_defaults(
    given: Option<&ResourceRequirements>,
    defaults: &Defaults,
) -> ResourceRequirements {
    let mut resources = given.cloned().unwrap_or_default();
    let limits = resources.limits.get_or_insert_default();
    let requests = resources.requests.get_or_insert_default();

    if !limits.contains_key("memory") {
        let wanted = Quantity(format!("{}Mi", defaults.memory_limit_mebibytes));
        let limit = larger(wanted, requests.get("memory"));
        limits.insert("memory".to_owned(), limit);
    }
    for (name, wanted) in [
        ("cpu", format!("{}m", defaults.cpu_request_millis)),
        ("memory", format!("{}Mi", defaults.memory_request_mebibytes)),
    ] {
        if !requests.contains_key(name) {
            let request = smaller(Quantity(wanted), limits.get(name));
            requests.insert(name.to_owned(), request);
        }
    }
    for quantity in limits.values_mut().chain(requests.values_mut()) {
        *quantity = canonical(quantity);
    }
    resources
}

/// The memory limit in bytes, if there is one that can be read.
pub(crate) fn memory_limit_bytes(resources: &ResourceRequirements) -> Option<u64> {
    let limits: &BTreeMap<String, Quantity> = resources.limits.as_ref()?;
    let thousandths = thousandths(&limits.get("memory")?.0)?;
    u64::try_from(thousandths / 1000).ok()
}

/// Bytes as whole mebibytes, rounded up.
pub(crate) fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(MEBIBYTE)
}

/// What Kubernetes takes for an amount of something: `500m`, `1.5`, `1Gi`, `1e3`.
pub(crate) fn is_amount(text: &str) -> bool {
    const SUFFIXES: [&str; 16] = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let split = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = unsigned.split_at(split.unwrap_or(unsigned.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let exponent = suffix.strip_prefix(['e', 'E']);
    digits(&format!("{whole}{fraction}"))
        && (SUFFIXES.contains(&suffix)
            || exponent.is_some_and(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))))
}

/// Surely more than the other: not, if one of them is written in a way that defaults do not need to
/// understand.
pub(crate) fn is_above(one: &Quantity, other: &Quantity) -> bool {
    let (one, other) = (thousandths(&one.0), thousandths(&other.0));
    other.is_some() && one > other
}

/// The same amount, however it is written: `1Gi` and `1024Mi`. Not, if one of them cannot be read.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    picos(one).is_some_and(|amount| Some(amount) == picos(other))
}

/// It has no fraction.
pub(crate) fn is_whole(amount: &Quantity) -> bool {
    thousandths(&amount.0).is_some_and(|amount| amount % 1000 == 0)
}

fn larger(default: Quantity, given: Option<&Quantity>) -> Quantity {
    match given {
        Some(given) if thousandths(&given.0) > thousandths(&default.0) => given.clone(),
        _ => default,
    }
}

fn smaller(default: Quantity, given: Option<&Quantity>) -> Quantity {
    match given {
        Some(given) if thousandths(&given.0).is_some_and(|g| Some(g) < thousandths(&default.0)) => {
            given.clone()
        }
        _ => default,
    }
}

/// The way Kubernetes writes a quantity back (`1024Mi` is `1Gi`, `0.5` is `500m`): only so does a
/// live object look like what was applied.
fn canonical(quantity: &Quantity) -> Quantity {
    let Some(value) = thousandths(&quantity.0).filter(|value| *value > 0) else {
        return quantity.clone();
    };
    text(value, quantity.0.ends_with('i')).map_or_else(|| quantity.clone(), Quantity)
}

/// An amount in thousandths as Kubernetes writes it, with a binary suffix or a decimal one.
pub(crate) fn text(thousandths: u128, is_binary: bool) -> Option<String> {
    const BINARY: [(&str, u128); 5] = [
        ("Ti", 1_000 << 40),
        ("Gi", 1_000 << 30),
        ("Mi", 1_000 << 20),
        ("Ki", 1_000 << 10),
        ("", 1_000),
    ];
    const DECIMAL: [(&str, u128); 6] = [
        ("T", 1_000_000_000_000_000),
        ("G", 1_000_000_000_000),
        ("M", 1_000_000_000),
        ("k", 1_000_000),
        ("", 1_000),
        ("m", 1),
    ];
    let suffixes: &[(&str, u128)] = if is_binary { &BINARY } else { &DECIMAL };
    let whole = suffixes
        .iter()
        .find(|(_, factor)| thousandths.is_multiple_of(*factor));
    whole.map(|(suffix, factor)| format!("{}{suffix}", thousandths / factor))
}

/// A quantity in thousandths of its unit (millicores, milli-bytes), rounded down.
pub(crate) fn thousandths(text: &str) -> Option<u128> {
    Some(picos(text)? / 1_000_000_000)
}

/// A quantity in units of 10^-12, exact up to nine digits behind the point. `None` if it is not
/// one, which the API server rejects.
fn picos(text: &str) -> Option<u128> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Nine digits behind the point are more than Kubernetes keeps.
    let fraction: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let billionths: u128 = format!("{whole}{fraction}").parse().ok()?;
    let factor_in_millis: u128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        _ => return None,
    };
    billionths.checked_mul(factor_in_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults = Defaults {
        cpu_request_millis: 100,
        memory_request_mebibytes: 64,
        memory_limit_mebibytes: 256,
    };

    fn resources(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> ResourceRequirements {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), Quantity((*v).to_owned())))
                .collect()
        };
        ResourceRequirements {
            requests: Some(map(requests)),
            limits: Some(map(limits)),
            ..Default::default()
        }
    }

    #[test]
    fn an_amount_is_what_kubernetes_takes() {
        for good in [
            "0", "1", "500m", "0.5", ".5", "1.", "+1", "1Gi", "2k", "1e3", "1E-3", "12E", "5Pi", "100n",
        ] {
            assert!(is_amount(good), "{good}");
        }
        for bad in [
            "", "lots", "1 Gi", "1gi", "-1", "1.2.3", ".", "1e", "1Gi ", "Gi", "0x10", "1,5", "٣",
        ] {
            assert!(!is_amount(bad), "{bad}");
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("1", Some(1_000)),
            ("250m", Some(250)),
            ("0.5", Some(500)),
            (".5", Some(500)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("128Mi", Some(134_217_728_000)),
            ("1k", Some(1_000_000)),
            ("", None),
            ("Mi", None),
            ("-1", None),
            ("1 Gi", None),
            ("1.2.3", None),
            ("99999999999999999999999999999999999999", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }

    #[test]
    fn quantities_are_compared_by_value() {
        for (a, b) in [("500m", "0.5"), ("1", "1000m"), ("1Gi", "1024Mi"), ("2k", "2000")] {
            assert!(is_same(a, b), "{a} {b}");
        }
        for (a, b) in [("1G", "1Gi"), ("1e3", "1000"), ("", ""), ("1.5m", "1m")] {
            assert!(!is_same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn quantities_are_written_as_kubernetes_writes_them() {
        for (given, expected) in [
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000Mi", "1000Mi"),
            ("0.5", "500m"),
            ("2000m", "2"),
            ("1500m", "1500m"),
            ("1000000", "1M"),
            ("0", "0"),
            ("1e3", "1e3"),
            ("much", "much"),
        ] {
            assert_eq!(canonical(&Quantity(given.to_owned())).0, expected, "{given}");
        }
    }

    #[test]
    fn nothing_given_is_all_defaults() {
        let filled = with_defaults(None, &DEFAULTS);
        assert_eq!(
            filled,
            resources(&[("cpu", "100m"), ("memory", "64Mi")], &[("memory", "256Mi")])
        );
        assert_eq!(memory_limit_bytes(&filled), Some(256 << 20));
    }

    #[test]
    fn a_default_never_contradicts_what_is_given() {
        let small = with_defaults(
            Some(&resources(&[], &[("cpu", "50m"), ("memory", "32Mi")])),
            &DEFAULTS,
        );
        assert_eq!(
            small,
            resources(
                &[("cpu", "50m"), ("memory", "32Mi")],
                &[("cpu", "50m"), ("memory", "32Mi")]
            )
        );
        let large = with_defaults(Some(&resources(&[("memory", "2Gi")], &[])), &DEFAULTS);
        assert_eq!(
            large,
            resources(&[("cpu", "100m"), ("memory", "2Gi")], &[("memory", "2Gi")])
        );
    }

    #[test]
    fn unreadable_quantity_is_left_to_api_server() {
        let odd = with_defaults(Some(&resources(&[("memory", "much")], &[])), &DEFAULTS);
        assert_eq!(
            odd,
            resources(&[("cpu", "100m"), ("memory", "much")], &[("memory", "256Mi")])
        );
    }
}
