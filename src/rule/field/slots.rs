//! The places of one check, in what one pass has found of an event.

use super::Problem;
use super::scalar::Plain;
use crate::rule::capture::{Captured, FrameId, Kind, Reads, Row, Slot};
use crate::rule::pointer::Pointer;

/// Where a check looks: a way down for each array whose elements it visits, and one past the last.
#[derive(Debug, Clone)]
pub(super) struct FieldSlots {
    ways: Box<[Way]>,
}

/// From the payload, or from an array's element, down to the next array or to the value itself.
#[derive(Debug, Clone)]
struct Way {
    start: Slot,
    steps: Box<[Step]>,
    /// Of the array at its end.
    elements: Option<FrameId>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    slot: Slot,
    /// Whether the name could also be an index.
    is_number: bool,
}

/// Why a search ends before all values are seen.
#[derive(Debug)]
pub(super) enum Stop {
    /// The tree must be asked.
    Unsure,
    Trouble(Box<Trouble>),
}

/// The first value a check does not like.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) problem: Problem,
    /// Of the elements on the way to it, innermost first.
    indices: Vec<usize>,
}

impl FieldSlots {
    /// `None` when the slots are used up. Then nothing is added to `reads`.
    pub(super) fn compile(path: &Pointer, reads: &mut Reads, payload: &Pointer) -> Option<Self> {
        let before = reads.clone();
        let compiled = Self::try_compile(path, reads, payload);
        if compiled.is_none() {
            *reads = before;
        }
        compiled
    }

    fn try_compile(path: &Pointer, reads: &mut Reads, payload: &Pointer) -> Option<Self> {
        let (mut ways, mut place) = (Vec::new(), reads.below(payload.segments()));
        for part in path.segments().split(|segment| segment == "*") {
            // The array before this part.
            if let Some(Way { elements, .. }) = ways.last_mut() {
                place = reads.elements(place)?;
                *elements = Some(reads.place(place).frame());
            }
            let start = reads.slot(place)?;
            let mut steps = Vec::new();
            for segment in part {
                place = reads.key(place, segment);
                let is_number = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
                steps.push(Step { slot: reads.slot(place)?, is_number });
            }
            ways.push(Way { start, steps: steps.into(), elements: None });
        }
        Some(Self { ways: ways.into() })
    }

    /// The first value, in the event's order, that has a problem.
    pub(super) fn find(
        &self,
        captured: &Captured<'_>,
        problem: &impl Fn(Option<Plain<'_>>) -> Option<Problem>,
    ) -> Result<(), Stop> {
        self.find_from(0, Row::EVENT, captured, problem)
    }

    fn find_from(
        &self,
        index: usize,
        row: Row,
        captured: &Captured<'_>,
        problem: &impl Fn(Option<Plain<'_>>) -> Option<Problem>,
    ) -> Result<(), Stop> {
        let way = &self.ways[index];
        let found = captured.value(row, way.end());
        if found.is_none() {
            way.ends_early(row, captured)?;
        }
        let Some(frame) = way.elements else {
            let value = found.map(|found| Plain::found(found).ok_or(Stop::Unsure)).transpose()?;
            return problem(value).map_or(Ok(()), |problem| Err(Stop::at(problem)));
        };
        match found.map(|found| (found, found.kind())) {
            Some((array, Kind::Array)) => {
                for (at, row) in array.rows(captured, frame).enumerate() {
                    self.find_from(index + 1, row, captured, problem).map_err(|stop| stop.inside(at))?;
                }
                Ok(())
            }
            // It may have a key `*`.
            Some((_, Kind::Object)) => Err(Stop::Unsure),
            _ => problem(None).map_or(Ok(()), |problem| Err(Stop::at(problem))),
        }
    }
}

impl Way {
    fn end(&self) -> Slot {
        self.steps.last().map_or(self.start, |step| step.slot)
    }

    /// That nothing is at the end is certain, unless a number is an index of an array on the way.
    #[cold]
    fn ends_early(&self, row: Row, captured: &Captured<'_>) -> Result<(), Stop> {
        let mut around = captured.value(row, self.start).ok_or(Stop::Unsure)?;
        for step in &self.steps {
            match around.kind() {
                Kind::Object => {}
                Kind::Array if step.is_number => return Err(Stop::Unsure),
                _ => return Ok(()),
            }
            match captured.value(row, step.slot) {
                Some(found) => around = found,
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

impl Stop {
    #[cold]
    fn at(problem: Problem) -> Self {
        Self::Trouble(Box::new(Trouble { problem, indices: Vec::new() }))
    }

    /// The same, seen from around an element.
    #[cold]
    fn inside(mut self, element: usize) -> Self {
        if let Self::Trouble(trouble) = &mut self {
            trouble.indices.push(element);
        }
        self
    }
}

impl Trouble {
    /// Where it is, seen from the payload: the path, with indices for the elements it went through.
    pub(super) fn pointer(&self, path: &Pointer) -> Pointer {
        let mut indices = self.indices.iter().rev();
        path.segments().iter().fold(Pointer::root(), |pointer, segment| match segment.as_str() {
            "*" => pointer.child(indices.next().map_or_else(|| segment.clone(), usize::to_string)),
            _ => pointer.child(segment.as_str()),
        })
    }
}
