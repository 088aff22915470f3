/// Of the list of centres, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Centre(pub usize);

/// Which centre comes next. Rounds: each centre is tried once, then it is time to wait.
///
/// A round begins with the first of the list; after a good connection, with the centre that was connected.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    count: usize,
    /// `tried` centres from here on, around the end of the list. The last of them is the current one.
    first: usize,
    tried: usize,
    /// All that were tried in this round want nothing of us, and will not soon.
    all_refused: bool,
    /// Rounds without a good connection.
    vain_rounds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// At once.
    Try,
    /// Then begin a round.
    Wait { all_refused: bool },
}

impl Choice {
    pub(super) fn new(count: usize) -> Self {
        Self {
            count: count.max(1),
            first: 0,
            tried: 1,
            all_refused: true,
            vain_rounds: 0,
        }
    }

    pub(super) fn current(&self) -> Centre {
        Centre((self.first + self.tried - 1) % self.count)
    }

    pub(super) fn has_others(&self) -> bool {
        self.count > 1
    }

    pub(super) fn vain_rounds(&self) -> u32 {
        self.vain_rounds
    }

    pub(super) fn begin_round(&mut self) {
        (self.first, self.tried, self.all_refused) = (0, 1, true);
    }

    /// The current one serves us: what was tried before it does not count any longer.
    pub(super) fn on_good(&mut self) {
        self.first = self.current().0;
        (self.tried, self.all_refused, self.vain_rounds) = (1, true, 0);
    }

    /// The current one was left, or never reached.
    pub(super) fn on_left(&mut self, refused: bool) -> Next {
        self.all_refused &= refused;
        if self.tried < self.count {
            self.tried += 1;
            return Next::Try;
        }
        self.vain_rounds = self.vain_rounds.saturating_add(1);
        Next::Wait {
            all_refused: self.all_refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that are tried, one after the other, until it is time to wait.
    fn round(choice: &mut Choice) -> Vec<usize> {
        let mut places = vec![choice.current().0];
        while choice.on_left(false) == Next::Try {
            places.push(choice.current().0);
        }
        places
    }

    #[test]
    fn rounds_go_in_the_order_given() {
        for count in 1..5 {
            let mut choice = Choice::new(count);
            let all: Vec<_> = (0..count).collect();
            assert_eq!(round(&mut choice), all);
            choice.begin_round();
            assert_eq!(round(&mut choice), all);
            assert_eq!(choice.vain_rounds(), 2);
        }
    }

    #[test]
    fn the_one_that_is_lost_comes_last() {
        let mut choice = Choice::new(3);
        assert_eq!(choice.on_left(false), Next::Try);
        choice.on_good();
        assert_eq!(round(&mut choice), [1, 2, 0]);
        choice.begin_round();
        assert_eq!(choice.current(), Centre(0));
    }

    #[test]
    fn one_that_only_could_not_be_reached_is_asked_again_soon() {
        let mut choice = Choice::new(2);
        assert_eq!(choice.on_left(true), Next::Try);
        assert_eq!(choice.on_left(true), Next::Wait { all_refused: true });
        choice.begin_round();
        assert_eq!(choice.on_left(false), Next::Try);
        assert_eq!(choice.on_left(true), Next::Wait { all_refused: false });
    }
}
