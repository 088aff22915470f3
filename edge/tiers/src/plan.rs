//! Which tiers a topic has, and which of them were there before the configuration changed.

use efd_shared_stats::Resolution;

use crate::settings::{TierSettings, Topics, chain};

/// What the state keeps of a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierOf {
    pub resolution: Resolution,
    pub topics: Topics,
}

impl From<&TierSettings> for TierOf {
    fn from(settings: &TierSettings) -> Self {
        Self {
            resolution: settings.resolution,
            topics: settings.topics.clone(),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Finest first.
    tiers: Vec<TierSettings>,
    /// While something is built: the tiers of each configuration since what is there was whole.
    before: Vec<Vec<TierOf>>,
}

impl Plan {
    pub fn new(tiers: &[TierSettings], before: Vec<Vec<TierOf>>) -> Self {
        let tiers = tiers.to_vec();
        Self { tiers, before }
    }

    pub fn chain(&self, topic: &str) -> Vec<usize> {
        chain(&self.tiers, topic)
    }

    /// The tier that this one is merged from; `None` if the topic has none, or if this is its first.
    pub fn finer(&self, topic: &str, tier: usize) -> Option<usize> {
        if !self.tiers[tier].topics.has(topic) {
            return None;
        }
        let finer = self.tiers[..tier].iter();
        finer
            .rev()
            .position(|it| it.topics.has(topic))
            .map(|back| tier - 1 - back)
    }

    /// The tier that is merged from this one.
    pub fn next(&self, topic: &str, tier: usize) -> Option<usize> {
        let mut chain = self.chain(topic).into_iter();
        chain.find(|&it| tier < it)
    }

    /// Whether the one tier can be merged from the other: none between them has every topic.
    pub fn can_be_merged(&self, finer: usize, tier: usize) -> bool {
        let mut between = self.tiers[finer + 1..tier].iter();
        between.all(|it| it.topics != Topics::All)
    }

    /// How many tiers, from the finest, can be the first of a topic.
    pub fn firsts(&self) -> usize {
        let tiers = self.tiers.iter().map(|tier| &tier.topics);
        firsts(tiers)
    }

    /// The topic did not have the tier before: it is made of what is there.
    pub fn is_new(&self, topic: &str, tier: usize) -> bool {
        let resolution = self.tiers[tier].resolution;
        let mut before = self.before.iter();
        before.any(|tiers| {
            let mut of_topic = tiers.iter().filter(|it| it.topics.has(topic));
            of_topic.all(|it| it.resolution != resolution)
        })
    }

    /// Whether that can be so of any topic.
    pub fn can_be_new(&self, tier: usize) -> bool {
        let own = TierOf::from(&self.tiers[tier]);
        let has = |tier: &TierOf| {
            let is_whole = matches!(tier.topics, Topics::All) || tier.topics == own.topics;
            tier.resolution == own.resolution && is_whole
        };
        let mut before = self.before.iter();
        before.any(|tiers| !tiers.iter().any(has))
    }
}

fn firsts<'a>(mut topics: impl ExactSizeIterator<Item = &'a Topics>) -> usize {
    let count = topics.len();
    let all = topics.position(|topics| *topics == Topics::All);
    all.map_or(count, |place| place + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tier(seconds: u32, patterns: &[&str]) -> TierSettings {
        let patterns: Vec<String> = patterns.iter().map(|it| it.to_string()).collect();
        TierSettings {
            resolution: Resolution::from_seconds(seconds).unwrap(),
            topics: Topics::of(&patterns),
            age_max: Duration::from_secs(100_000),
            bytes_max: 1,
        }
    }

    fn before(tiers: &[TierSettings]) -> Vec<TierOf> {
        tiers.iter().map(TierOf::from).collect()
    }

    #[test]
    fn a_finer_tier_for_some() {
        let old = [tier(10, &[]), tier(300, &[])];
        let new = [tier(1, &["a*"]), tier(10, &[]), tier(300, &[])];
        let plan = Plan::new(&new, vec![before(&old)]);
        assert_eq!(plan.firsts(), 2);
        assert_eq!(plan.chain("abc"), [0, 1, 2]);
        assert_eq!(plan.chain("x"), [1, 2]);
        assert_eq!((plan.finer("abc", 1), plan.finer("x", 1)), (Some(0), None));
        assert_eq!((plan.finer("abc", 0), plan.finer("x", 0)), (None, None));
        assert_eq!(plan.finer("x", 2), Some(1));
        assert!(plan.can_be_new(0) && plan.is_new("abc", 0));
        for tier in 1..3 {
            assert!(!plan.can_be_new(tier) && !plan.is_new("abc", tier));
        }
    }

    #[test]
    fn a_coarser_tier_and_the_finest_removed() {
        let old = [tier(10, &[]), tier(300, &[])];
        let coarser = [old[0].clone(), old[1].clone(), tier(3600, &["b"])];
        let plan = Plan::new(&coarser, vec![before(&old)]);
        assert!(plan.can_be_new(2) && plan.is_new("b", 2));
        assert!(!plan.can_be_new(0) && !plan.can_be_new(1));
        let plan = Plan::new(&old[1..], vec![before(&old)]);
        assert!(!plan.can_be_new(0));
        // Added, removed and added: there was a time without it.
        let plan = Plan::new(&old, vec![before(&old), before(&old[..1])]);
        assert!(plan.is_new("b", 1) && !plan.can_be_new(0));
        let plan = Plan::new(&old, Vec::new());
        assert!(!plan.can_be_new(0) && !plan.can_be_new(1));
        let plan = Plan::new(&old, vec![Vec::new()]);
        assert!(plan.is_new("b", 0) && plan.can_be_new(1));
    }
}
