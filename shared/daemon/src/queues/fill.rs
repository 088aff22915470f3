//! When a queue that fills is worth a word: at 10, 50 and 90 %, once each, and once when it has fallen back. Pure.

/// What a queue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    pub used: u64,
    pub limit: u64,
    /// What it did not take since the start; `None` where whoever fills it waits.
    pub overflows: Option<u64>,
}

impl Fill {
    pub fn new(used: u64, limit: u64) -> Self {
        Self {
            used,
            limit,
            overflows: None,
        }
    }

    #[must_use]
    pub fn with_overflows(mut self, overflows: u64) -> Self {
        self.overflows = Some(overflows);
        self
    }

    /// 1 is full, and more than that is over the limit. What may hold nothing is full when it holds something.
    pub fn ratio(self) -> f64 {
        self.used as f64 / self.limit.max(1) as f64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    Tenth,
    Half,
    NineTenths,
}

impl Mark {
    const ALL: [Self; 3] = [Self::Tenth, Self::Half, Self::NineTenths];

    pub fn ratio(self) -> f64 {
        match self {
            Self::Tenth => 0.1,
            Self::Half => 0.5,
            Self::NineTenths => 0.9,
        }
    }

    /// A queue has to fall so far before the mark is told again, so that one at a mark does not fill the log.
    fn falls_back(self) -> f64 {
        match self {
            Self::Tenth => 0.08,
            Self::Half => 0.4,
            Self::NineTenths => 0.72,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The highest of those that were passed.
    Up(Mark),
    /// The lowest of those below which it fell.
    Down(Mark),
}

/// What was said last of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    above: Option<Mark>,
}

impl Watch {
    pub fn look(&mut self, fill: Fill) -> Option<Passed> {
        let ratio = fill.ratio();
        let before = self.above;
        let passed = |mark: &Mark| mark.ratio() <= ratio;
        let holds = |mark: &Mark| {
            before.is_some_and(|before| *mark <= before) && mark.falls_back() <= ratio
        };
        let mut marks = Mark::ALL.into_iter();
        self.above = marks.rfind(|mark| passed(mark) || holds(mark));
        match (before, self.above) {
            (before, Some(now)) if before < Some(now) => Some(Passed::Up(now)),
            (Some(before), now) if now < Some(before) => {
                let mut fell = Mark::ALL.into_iter().filter(|mark| now < Some(*mark));
                fell.next().map(Passed::Down)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn looks(levels: &[u64]) -> Vec<Option<Passed>> {
        let mut watch = Watch::default();
        let levels = levels.iter();
        levels
            .map(|used| watch.look(Fill::new(*used, 100)))
            .collect()
    }

    #[test]
    fn each_mark_is_told_once_up_and_once_down() {
        use Mark::{Half, NineTenths, Tenth};
        use Passed::{Down, Up};
        assert_eq!(
            looks(&[0, 9, 10, 11, 9, 8, 10, 7, 7, 10]),
            [
                None,
                None,
                Some(Up(Tenth)),
                None,
                None,
                None,
                None,
                Some(Down(Tenth)),
                None,
                Some(Up(Tenth))
            ]
        );
        assert_eq!(
            looks(&[95, 73, 71, 45, 39, 90, 0]),
            [
                Some(Up(NineTenths)),
                None,
                Some(Down(NineTenths)),
                None,
                Some(Down(Half)),
                Some(Up(NineTenths)),
                Some(Down(Tenth)),
            ]
        );
    }

    #[test]
    fn a_limit_of_nothing_is_full_with_anything() {
        assert_eq!(Fill::new(0, 0).ratio(), 0.0);
        assert_eq!(Fill::new(1, 0).ratio(), 1.0);
    }

    proptest! {
        /// Against three marks that are each watched alone.
        #[test]
        fn marks_are_told_as_if_each_were_alone(levels in prop::collection::vec(0u64..130, 0..60)) {
            let mut watch = Watch::default();
            let mut above = [false; 3];
            for used in levels {
                let ratio = used as f64 / 100.0;
                let before = above;
                for (mark, above) in Mark::ALL.iter().zip(&mut above) {
                    *above = mark.ratio() <= ratio || *above && mark.falls_back() <= ratio;
                }
                let rose = (0..3).rev().find(|at| above[*at] && !before[*at]);
                let fell = (0..3).find(|at| !above[*at] && before[*at]);
                let wanted = match (rose, fell) {
                    (Some(at), _) => Some(Passed::Up(Mark::ALL[at])),
                    (None, Some(at)) => Some(Passed::Down(Mark::ALL[at])),
                    (None, None) => None,
                };
                prop_assert_eq!(watch.look(Fill::new(used, 100)), wanted);
            }
        }
    }
}
