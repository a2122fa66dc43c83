//! Which segments there are to salvage, and where to begin.

use super::{Before, Error, Salvager, SegmentReader, Target, superseded};
use crate::segment::Catalog;

impl Salvager {
    /// Whether a segment above this one is in use, or may be.
    pub(super) fn is_later_in_use(&self, index: u32) -> bool {
        let above = |index: &u32| self.catalog.next_above(Some(*index));
        std::iter::successors(above(&index), above).any(|later| self.is_in_use(later))
    }

    /// Whether a segment is in use, or may be: a prepared one's header always holds, so what does not was more.
    fn is_in_use(&self, index: u32) -> bool {
        self.probe(&self.catalog, index).and_then(|mut segment| segment.is_in_use(self.limit)).unwrap_or(true)
    }

    /// The segment to begin with; one that cannot be read is spoken for by the next.
    pub(super) fn find(&self, catalog: &Catalog, target: Target) -> Result<Option<u32>, Error> {
        let indices: Vec<u32> = catalog.indices().into_iter().collect();
        let first = |from: usize| {
            indices[from..].iter().find_map(|&index| {
                self.probe(catalog, index).and_then(|mut segment| segment.may_begin(target)).ok().flatten()
            })
        };
        let Some(&oldest) = indices.first() else { return Ok(None) };
        if target == Target::Id(0) {
            return Ok(Some(oldest));
        }
        let places: Vec<usize> = (0..indices.len()).collect();
        let place = places.partition_point(|&place| first(place).unwrap_or(false));
        if let (0, Target::Id(event_id), 1.., Some(false)) = (place, target, oldest, first(0)) {
            return Err(Error::NotFound(format!("event {event_id} is older than the oldest one kept")));
        }
        Ok(Some(indices[place.saturating_sub(1)]))
    }

    /// A segment by itself, in the form that counts.
    fn probe(&self, catalog: &Catalog, index: u32) -> Result<SegmentReader, Error> {
        let hot = catalog.hot.contains(&index) && superseded(&*self.directory, catalog, index).is_none();
        let unknown = Before { last_event_id: 0, link: None };
        SegmentReader::open(&self.directory, &self.telemetry, index, hot, unknown)
    }
}
