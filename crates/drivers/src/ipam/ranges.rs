//! A set of numbers kept as ranges, so that a full /8 costs no more than an empty one.

use std::collections::BTreeMap;

/// From the first number of each range to its last; ranges neither overlap nor touch.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    ranges: BTreeMap<u128, u128>,
}

impl Ranges {
    /// Puts a number in. Says whether it was not there.
    pub(super) fn insert(&mut self, number: u128) -> bool {
        if self.contains(number) {
            return false;
        }
        let (mut first, mut last) = (number, number);
        if let Some(below) = number.checked_sub(1)
            && let Some((&start, &end)) = self.ranges.range(..number).next_back()
            && end == below
        {
            first = start;
        }
        if let Some(above) = number.checked_add(1)
            && let Some(end) = self.ranges.remove(&above)
        {
            last = end;
        }
        self.ranges.insert(first, last);
        true
    }

    /// Takes a number out.
    pub(super) fn remove(&mut self, number: u128) {
        let Some((first, last)) = self.around(number) else { return };
        self.ranges.remove(&first);
        if first < number {
            self.ranges.insert(first, number - 1);
        }
        if number < last {
            self.ranges.insert(number + 1, last);
        }
    }

    pub(super) fn contains(&self, number: u128) -> bool {
        self.around(number).is_some()
    }

    /// The lowest number from `from` to `to` that is not there.
    pub(super) fn free(&self, from: u128, to: u128) -> Option<u128> {
        let free = match self.around(from) {
            Some((_, last)) => last.checked_add(1)?,
            None => from,
        };
        (free <= to).then_some(free)
    }

    fn around(&self, number: u128) -> Option<(u128, u128)> {
        let (&first, &last) = self.ranges.range(..=number).next_back()?;
        (number <= last).then_some((first, last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0u128..40), 0..200), from in 0u128..40, to in 0u128..40) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (put, number) in steps {
                if put {
                    prop_assert_eq!(ranges.insert(number), set.insert(number));
                } else {
                    ranges.remove(number);
                    set.remove(&number);
                }
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
            }
            prop_assert_eq!(ranges.free(from, to), (from..=to).find(|number| !set.contains(number)));
            let gaps = ranges.ranges.iter().zip(ranges.ranges.iter().skip(1));
            for ((_, last), (first, _)) in gaps {
                prop_assert!(last + 1 < *first);
            }
        }
    }

    #[test]
    fn the_last_numbers_there_are() {
        let mut ranges = Ranges::default();
        assert!(ranges.insert(u128::MAX) && ranges.insert(u128::MAX - 1) && ranges.insert(0));
        assert_eq!(ranges.free(u128::MAX - 1, u128::MAX), None);
        ranges.remove(u128::MAX);
        assert_eq!(ranges.free(u128::MAX - 1, u128::MAX), Some(u128::MAX));
    }
}
