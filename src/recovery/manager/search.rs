//! The way to a segment: a binary search over the log's segments, by the first event of each.

use super::{Before, Error, Manager, SegmentReader, Target};
use crate::recovery::forms::unless_retired;
use crate::segment::Catalog;

impl Manager {
    /// The segment that holds the first event at or after the target, near it; `None` while the log has no segment.
    pub(super) fn find(&self, catalog: &Catalog, target: Target) -> Result<Option<SegmentReader>, Error> {
        let indices: Vec<u32> = catalog.indices().into_iter().collect();
        let unknown = Before { last_event_id: 0, link: None };
        let open = |index: u32, before| self.enter(catalog, index, before);
        let may_begin = |index: u32| {
            let mut segment = open(index, unknown)?;
            match segment.may_begin(target) {
                Err(Error::Corrupt(hot)) if segment.is_hot() => {
                    self.frozen_instead(index, unknown, hot)?.may_begin(target)
                }
                result => result.map_err(|error| unless_retired(&*self.directory, index, error)),
            }
        };
        let Some(&oldest) = indices.first() else { return Ok(None) };
        if target == Target::Id(0) {
            self.hold_front(catalog)?;
            return open(oldest, unknown).map(Some);
        }
        // Ids and timestamps grow with indices; a segment without events counts as above all, so the search ends below it.
        let mut error = None;
        let places: Vec<usize> = (0..indices.len()).collect();
        let place = places.partition_point(|&place| {
            // A sealed segment may be empty: the first one with events speaks for it.
            indices[place..]
                .iter()
                .find_map(|&index| {
                    may_begin(index).unwrap_or_else(|failed| {
                        error.get_or_insert(failed);
                        None
                    })
                })
                .unwrap_or(false)
        });
        if let Some(error) = error {
            return Err(error);
        }
        let Some(mut place) = place.checked_sub(1) else {
            let first = open(oldest, unknown)?.first_event_id()?;
            if let (Target::Id(event_id), Some(first), 1..) = (target, first, oldest) {
                return Err(Error::NotFound(format!("event {event_id} is older than the oldest one kept, {first}")));
            }
            return open(oldest, unknown).map(Some);
        };
        loop {
            let index = indices[place];
            let before = match place.checked_sub(1).map(|before| indices[before]) {
                Some(before) if before + 1 == index => {
                    let before = open(before, unknown)?;
                    if before.is_sealed() { before.after_all() } else { unknown }
                }
                _ => unknown,
            };
            let mut segment = open(index, before)?;
            if segment.first_event_id()?.is_some_and(|first| first <= before.last_event_id) {
                // What stands there does not follow: reading comes to it from before.
                place -= 1;
                continue;
            }
            segment.go_near(target)?;
            return Ok(Some(segment));
        }
    }

    /// Above a segment whose retiring was cut short the next one stands. A list that was read while segments were retired may miss it: it
    /// counts when it is missed twice.
    fn hold_front(&self, catalog: &Catalog) -> Result<(), Error> {
        let missing = |catalog: &Catalog| {
            let (first, last) = catalog.missing_before_first()?;
            (!catalog.all_lost(first..last + 1)).then_some((first, last))
        };
        match missing(catalog) {
            Some(gap) if missing(&Catalog::read(&*self.directory)?) == Some(gap) => Err(self.not_there(gap.0, gap.1)),
            _ => Ok(()),
        }
    }
}
