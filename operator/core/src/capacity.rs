//! What the pods take: a sum over pods, never one number for all of them.

/// Connections that the serving pods accept, and that new pods probably accept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Capacity {
    /// By the place of the pod in the pool; 0 for pods that are no capacity.
    pub(crate) offers: Vec<i64>,
    /// Of a new pod.
    pub(crate) typical: i64,
    target_percent: i64,
    /// Of the first n serving pods, the smallest first: which ones remain after a scale-down is not
    /// known.
    sums: Vec<i64>,
}

impl Capacity {
    /// `serving`: offers of the pods in rotation.
    pub(crate) fn new(
        offers: Vec<i64>,
        mut serving: Vec<i64>,
        typical: i64,
        target_utilization_percent: i32,
    ) -> Self {
        serving.sort_unstable();
        let sums = serving.iter().scan(0_i64, |sum, offer| {
            *sum += offer;
            Some(*sum)
        });
        Self {
            sums: std::iter::once(0).chain(sums).collect(),
            offers,
            typical: typical.max(1),
            target_percent: i64::from(target_utilization_percent),
        }
    }

    /// Of all serving pods.
    pub(crate) fn total(&self) -> i64 {
        self.sums.last().copied().unwrap_or(0)
    }

    /// Connections that this number of pods should have at most.
    pub(crate) fn target(&self, pods: i32) -> i64 {
        let pods = usize::try_from(pods).unwrap_or(0);
        let serving = self.sums.len().saturating_sub(1);
        let known = self.sums.get(pods.min(serving)).copied().unwrap_or(0);
        let more = i64::try_from(pods.saturating_sub(serving)).unwrap_or(i64::MAX);
        self.share(known.saturating_add(more.saturating_mul(self.typical)))
    }

    /// The smallest number of pods whose target is at least this number of connections.
    pub(crate) fn pods_for(&self, connections: i64) -> i64 {
        let enough = self.sums.iter().position(|sum| self.share(*sum) >= connections);
        enough.map_or_else(
            || {
                let missing = connections - self.share(self.total());
                let serving = self.sums.len().saturating_sub(1);
                i64::try_from(serving).unwrap_or(i64::MAX)
                    + crate::numbers::div_ceil(missing, self.target_per_pod())
            },
            |pods| i64::try_from(pods).unwrap_or(i64::MAX),
        )
    }

    /// Connections that a new pod should have.
    pub(crate) fn target_per_pod(&self) -> i64 {
        self.share(self.typical).max(1)
    }

    fn share(&self, connections: i64) -> i64 {
        connections.saturating_mul(self.target_percent) / 100
    }
}

/// The middle one, the lower of two.
pub(crate) fn median(mut numbers: Vec<i64>) -> Option<i64> {
    numbers.sort_unstable();
    let middle = numbers.len().checked_sub(1)? / 2;
    numbers.get(middle).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(serving: &[i64], typical: i64) -> Capacity {
        Capacity::new(serving.to_vec(), serving.to_vec(), typical, 75)
    }

    #[test]
    fn one_small_pod_shrinks_no_other() {
        let mut pods = vec![10_000; 9];
        pods.push(768);
        let capacity = capacity(&pods, 10_000);
        assert_eq!(capacity.pods_for(50_000), 8);
        assert_eq!(capacity.target(8), (768 + 7 * 10_000) * 75 / 100);
        assert_eq!(capacity.target(12), (768 + 11 * 10_000) * 75 / 100);
    }

    #[test]
    fn pods_full_below_their_limit_need_more() {
        let full = capacity(&[5_000; 10], 5_000);
        assert_eq!(full.pods_for(50_000), 14);
        let roomy = capacity(&[10_000; 10], 10_000);
        assert_eq!(roomy.pods_for(50_000), 7);
    }

    #[test]
    fn pods_of_an_empty_pool_are_estimated() {
        let none = capacity(&[], 100);
        assert_eq!((none.pods_for(0), none.pods_for(1), none.pods_for(76)), (0, 1, 2));
        assert_eq!((none.total(), none.target(2)), (0, 150));
    }

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3]), Some(3));
        assert_eq!(median(vec![9, 1]), Some(1));
        assert_eq!(median(vec![9, 1, 5]), Some(5));
    }
}
