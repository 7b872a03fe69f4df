//! Did clients with a cookie come back to its pod? Pure.

use std::collections::BTreeMap;

use super::record::CookieTry;
use wsc_testing::clients::Landing;

/// Two witnesses are asked: the proxy, by the cookie that a client holds after it came back, and
/// the pod, by the number of upgrades that it answered meanwhile. `before` and `after` are these by
/// pod; no other client may connect in between.
pub(crate) fn judge(
    landings: &[Landing],
    pods: &BTreeMap<String, String>,
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> Vec<CookieTry> {
    let count = |counts: &BTreeMap<String, u64>, pod: &str| counts.get(pod).copied().unwrap_or(0);
    let mut unclaimed: BTreeMap<&str, u64> = pods
        .values()
        .map(|pod| (pod.as_str(), count(after, pod).saturating_sub(count(before, pod))))
        .collect();
    let judged = landings.iter().map(|landing| {
        let pod = pods.get(&landing.held).cloned().unwrap_or_default();
        let same = landing.held == landing.landed;
        let left = unclaimed.get_mut(pod.as_str()).filter(|left| same && **left > 0);
        let returned = left.map(|left| *left -= 1).is_some();
        CookieTry { pod, returned }
    });
    judged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: [(&str, u64); 2]) -> BTreeMap<String, u64> {
        counts.map(|(pod, count)| (pod.to_owned(), count)).into()
    }

    fn returned(landings: &[(&str, &str)], after: [(&str, u64); 2]) -> Vec<bool> {
        let landings: Vec<_> = landings
            .iter()
            .map(|(held, landed)| Landing {
                held: (*held).to_owned(),
                landed: (*landed).to_owned(),
            })
            .collect();
        let pods = [("aa", "chat-0"), ("bb", "chat-1")];
        let pods = pods
            .map(|(cookie, pod)| (cookie.to_owned(), pod.to_owned()))
            .into();
        let tries = judge(
            &landings,
            &pods,
            &counts([("chat-0", 10), ("chat-1", 20)]),
            &counts(after),
        );
        tries.into_iter().map(|attempt| attempt.returned).collect()
    }

    #[test]
    fn both_witnesses_have_to_agree() {
        let home = [("aa", "aa"), ("aa", "aa"), ("bb", "bb")];
        assert_eq!(
            returned(&home, [("chat-0", 12), ("chat-1", 21)]),
            [true, true, true]
        );
        assert_eq!(
            returned(&home, [("chat-0", 11), ("chat-1", 22)]),
            [true, false, true],
            "a pod saw one less"
        );
        assert_eq!(
            returned(&[("aa", "bb")], [("chat-0", 10), ("chat-1", 21)]),
            [false],
            "another cookie"
        );
        assert_eq!(
            returned(&[("aa", "bb")], [("chat-0", 11), ("chat-1", 20)]),
            [false]
        );
        assert_eq!(
            returned(&[("cc", "cc")], [("chat-0", 11), ("chat-1", 20)]),
            [false],
            "a cookie of nobody"
        );
    }
}
