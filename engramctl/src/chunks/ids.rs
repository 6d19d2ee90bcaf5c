//! The ids of many chunks in one text: ten thousand are looked at to find the one that is new, and none of them is worth a
//! value of its own.

use engram_proto::chunk::ChunkId;
use std::cmp::Ordering;

/// How many digits of an id its [`Head`] has.
const HEAD_DIGITS: usize = 16;

/// How large a number may be that is put together with a head.
const NUMBER_BITS: u32 = 56;
const NUMBER_MAX: u64 = (1 << NUMBER_BITS) - 1;

/// What tells most ids apart: their first digits, as a number, and how many they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Head {
    first: u64,
    length: u8,
}

impl Head {
    /// Makes the head of an id.
    pub(super) fn of(id: impl AsRef<[u8]>) -> Self {
        let id = id.as_ref();
        let digits = id.get(..HEAD_DIGITS).unwrap_or(id);
        // The low bits of a digit are its value, and those of a letter lack 9.
        let first = digits.iter().fold(0, |first, &byte| first << 4 | u64::from((byte & 0xf) + 9 * (byte >> 6)));
        // What is missing counts as zeros, so that the numbers follow each other as the texts do.
        let missing = u32::try_from(HEAD_DIGITS - digits.len()).unwrap_or_default();
        let first = first.checked_shl(4 * missing).unwrap_or_default();
        Self { first, length: u8::try_from(id.len()).unwrap_or(u8::MAX) }
    }

    /// Makes one number of it and of a smaller one; such numbers of whole heads follow each other as the texts do.
    pub(super) fn with(self, number: u64) -> u128 {
        u128::from(self.first) << 64 | u128::from(self.length) << NUMBER_BITS | u128::from(number & NUMBER_MAX)
    }

    /// Takes them apart again.
    pub(super) fn apart(both: u128) -> (Self, u64) {
        let (first, rest) = ((both >> 64) as u64, both as u64);
        (Self { first, length: (rest >> NUMBER_BITS) as u8 }, rest & NUMBER_MAX)
    }

    /// Tells whether it says all of its id.
    pub(super) fn is_whole(self) -> bool {
        usize::from(self.length) <= HEAD_DIGITS
    }

    /// Compares two ids as their texts do, which are only looked at where the first digits are the same.
    pub(super) fn compare<'t>(
        self,
        other: Self,
        id: impl FnOnce() -> &'t str,
        other_id: impl FnOnce() -> &'t str,
    ) -> Ordering {
        self.first.cmp(&other.first).then_with(|| id().cmp(other_id()))
    }
}

/// Ids in order, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    /// Each with a space behind it.
    text: String,
    all: Vec<Id>,
}

/// Where in the text an id is.
#[derive(Clone, Debug)]
struct Id {
    head: Head,
    at: usize,
}

impl Ids {
    /// Gathers what a closure puts, which are ids in any order, each once.
    pub(super) fn gather<E>(from: impl FnOnce(&mut dyn FnMut(&str)) -> Result<(), E>) -> Result<Self, E> {
        let (mut found, mut all) = (String::new(), Vec::new());
        from(&mut |id| {
            all.push(Head::of(id).with(found.len() as u64));
            found.push_str(id);
        })?;
        // Numbers are sorted in a fraction of the time, and hardly any two ids have the same first digits.
        all.sort_unstable();
        let text = |both: u128| {
            let (head, at) = Head::apart(both);
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            (head, found.get(at..at + usize::from(head.length)).unwrap_or_default())
        };
        for same in all.chunk_by_mut(|&a, &b| Head::apart(a).0.first == Head::apart(b).0.first) {
            same.sort_unstable_by(|&a, &b| text(a).1.cmp(text(b).1));
        }
        let mut ids = Self { text: String::with_capacity(found.len() + all.len()), all: Vec::with_capacity(all.len()) };
        for (head, id) in all.into_iter().map(text) {
            ids.all.push(Id { head, at: ids.text.len() });
            ids.text.push_str(id);
            ids.text.push(' ');
        }
        Ok(ids)
    }

    /// Returns all of them, with a space behind each.
    pub(crate) fn as_text(&self) -> &str {
        &self.text
    }

    /// Tells whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Counts them.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Lists them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|id| self.id(id))
    }

    /// Lists their heads.
    pub(super) fn heads(&self) -> impl Iterator<Item = Head> {
        self.all.iter().map(|id| id.head)
    }

    /// Tells whether one is among them.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.place_of(id).is_ok()
    }

    /// Adds one.
    pub(crate) fn add(&mut self, id: &ChunkId) {
        let id = id.as_str();
        let Err(place) = self.place_of(id) else { return };
        let at = self.all.get(place).map_or(self.text.len(), |behind| behind.at);
        self.text.insert_str(at, &format!("{id} "));
        self.all.iter_mut().skip(place).for_each(|behind| behind.at += id.len() + 1);
        self.all.insert(place, Id { head: Head::of(id), at });
    }

    fn place_of(&self, id: &str) -> Result<usize, usize> {
        let head = Head::of(id);
        self.all.binary_search_by(|one| one.head.compare(head, || self.id(one), || id))
    }

    fn id(&self, id: &Id) -> &str {
        &self.text[id.at..id.at + usize::from(id.head.length)]
    }
}

#[cfg(test)]
impl<'i> FromIterator<&'i str> for Ids {
    fn from_iter<I: IntoIterator<Item = &'i str>>(ids: I) -> Self {
        let put_all = |put: &mut dyn FnMut(&str)| {
            ids.into_iter().for_each(put);
            Ok::<_, std::convert::Infallible>(())
        };
        Self::gather(put_all).unwrap_or_default()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn they_stand_in_the_order_of_their_texts_whatever_their_length() {
        let long = "0123456789abcdef0";
        let given = ["ffffffff", long, "00000000", "0123456789abcdef", "000000000", "0123456789abcdef00", "00000001"];
        let mut sorted = given;
        sorted.sort_unstable();
        let mut found: Ids = given.into_iter().collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), sorted);
        assert_eq!(found.as_text().trim_end(), sorted.join(" "));
        assert!(given.iter().all(|id| found.has(id)) && !found.has("0123456789abcdef01"));
        for new in ["aaaaaaaa", "ffffffffff", "0000000000", "aaaaaaaa"] {
            found.add(&ChunkId::parse(new).unwrap());
        }
        let mut sorted = [&sorted[..], &["aaaaaaaa", "ffffffffff", "0000000000"]].concat();
        sorted.sort_unstable();
        assert_eq!(found.iter().collect::<Vec<_>>(), sorted);
        assert_eq!((found.as_text().trim_end(), found.len()), (&*sorted.join(" "), sorted.len()));
        assert!(!Head::of(long).is_whole() && Head::of(&long[1..]).is_whole());
    }
}
