//! The newest answers of the server pods of one cluster.

use std::collections::HashMap;

use crate::observed::Sample;

/// The newest sample of each server pod, by pod uid.
#[derive(Clone, Debug, Default)]
pub struct ServerSamples {
    newest: HashMap<String, Sample>,
}

impl ServerSamples {
    pub fn get(&self, pod_uid: &str) -> Option<&Sample> {
        self.newest.get(pod_uid)
    }

    /// Takes in a periodic answer: only these count towards [`Sample::zero_in_a_row`].
    pub fn sampled(&mut self, mut sample: Sample) {
        let zeros = self.zeros(&sample);
        sample.zero_in_a_row = if sample.connections == 0 {
            zeros.saturating_add(1)
        } else {
            0
        };
        self.put(sample);
    }

    /// Takes in the answer to a control call. It may come moments after a sample, so it does not
    /// count as one more zero.
    pub fn answered(&mut self, mut sample: Sample) {
        let zeros = self.zeros(&sample);
        sample.zero_in_a_row = if sample.connections == 0 { zeros } else { 0 };
        self.put(sample);
    }

    /// Keeps the samples of these pods only.
    pub fn retain(&mut self, mut exists: impl FnMut(&str) -> bool) {
        self.newest.retain(|uid, _| exists(uid));
    }

    /// Zeros in a row of the same process so far.
    fn zeros(&self, sample: &Sample) -> u32 {
        let before = self.newest.get(&sample.pod_uid);
        let before = before.filter(|before| before.boot_id == sample.boot_id);
        before.map_or(0, |before| before.zero_in_a_row)
    }

    fn put(&mut self, sample: Sample) {
        self.newest.insert(sample.pod_uid.clone(), sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pod, sample};

    #[test]
    fn zeros_count_in_samples_of_one_process() {
        let mut samples = ServerSamples::default();
        let of = |boot_id: &str, connections| Sample {
            boot_id: boot_id.to_owned(),
            ..sample(&pod(1), connections)
        };
        let zeros = |samples: &ServerSamples| samples.get("uid-1").unwrap().zero_in_a_row;
        samples.sampled(of("a", 0));
        assert_eq!(zeros(&samples), 1);
        samples.answered(of("a", 0));
        assert_eq!(zeros(&samples), 1, "the answer to a call is no sample");
        samples.sampled(of("a", 0));
        assert_eq!(zeros(&samples), 2);
        samples.sampled(of("b", 0));
        assert_eq!(zeros(&samples), 1, "another process");
        samples.sampled(of("b", 3));
        assert_eq!(zeros(&samples), 0);
        samples.answered(of("b", 0));
        assert_eq!(zeros(&samples), 0);
    }
}
