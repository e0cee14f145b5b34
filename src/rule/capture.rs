//! What rules read of an event, and where one pass over its bytes found it.
//!
//! [`Reads`] is made when a contract is compiled: a tree of the places its rules look at, where each place that is looked at
//! has a slot. [`Captures`] are made for each event: the span of the value in each slot. So a rule finds what it needs
//! without a tree of the event, and whatever no rule reads costs nothing.
//!
//! A place below an array exists once an element, so slots come in *frames*: frame 0 has one row, the event's; every array
//! that rules look into has a frame with a row for each element.
//!
//! ```text
//! this.lines.all(l, l.qty > 0) && this.total > 0
//!
//! frame 0   [ lines: [1, 3], 2 rows from 0 │ total: 7 ]
//! frame 1   [ qty: 1 ]  [ qty: 3 ]
//! ```

#[doc(hidden)]
pub mod naive;

/// The most slots all frames of a contract have together. Rules that read more are evaluated over the tree.
pub const SLOTS_MAX: usize = 1024;

/// The most cells one event's captures take, of 40 bytes each. An event that needs more is judged over its tree.
pub const CELLS_MAX: usize = 256 * 1024;

/// Room that is kept from one event to the next, in cells.
const CELLS_KEPT_MAX: usize = 4096;

/// Names a place of [`Reads`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlaceId(u32);

/// Names a frame of [`Reads`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameId(u32);

/// A value's slot within a row of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    pub frame: FrameId,
    at: u32,
}

/// The places of an event that a contract's rules look at.
#[derive(Debug, Clone)]
pub struct Reads {
    places: Vec<Place>,
    /// How many slots a row of each frame has.
    strides: Vec<u32>,
}

/// One place that rules look at, or on the way to one.
#[derive(Debug, Clone)]
pub struct Place {
    frame: FrameId,
    slot: Option<Slot>,
    keys: Vec<(Box<str>, PlaceId)>,
    elements: Option<PlaceId>,
}

impl Reads {
    /// The whole event.
    pub const EVENT: PlaceId = PlaceId(0);

    /// The frame of what is outside all arrays. It has one row: [`Row::EVENT`].
    pub const ROOT: FrameId = FrameId(0);

    /// The place below a key of the object at `place`.
    pub fn key(&mut self, place: PlaceId, key: &str) -> PlaceId {
        if let Some(known) = self.place(place).child(key) {
            return known;
        }
        let child = self.add(self.place(place).frame);
        self.places[place.0 as usize].keys.push((key.into(), child));
        child
    }

    /// The place that keys lead to, from the whole event.
    pub fn below(&mut self, keys: &[String]) -> PlaceId {
        keys.iter().fold(Self::EVENT, |place, key| self.key(place, key))
    }

    /// The place of each element of the array at `place`. The array's own span must be kept for its elements to be found,
    /// so this gives it a slot. `None` when the slots are used up.
    pub fn elements(&mut self, place: PlaceId) -> Option<PlaceId> {
        self.slot(place)?;
        if let Some(known) = self.place(place).elements {
            return Some(known);
        }
        self.strides.push(0);
        let elements = self.add(FrameId(self.strides.len() as u32 - 1));
        self.places[place.0 as usize].elements = Some(elements);
        Some(elements)
    }

    /// Lets the value at a place be kept. `None` when the slots are used up.
    pub fn slot(&mut self, place: PlaceId) -> Option<Slot> {
        if let Some(slot) = self.place(place).slot {
            return Some(slot);
        }
        if self.strides.iter().sum::<u32>() as usize == SLOTS_MAX {
            return None;
        }
        let frame = self.place(place).frame;
        let stride = &mut self.strides[frame.0 as usize];
        let slot = Slot { frame, at: *stride };
        *stride += 1;
        self.places[place.0 as usize].slot = Some(slot);
        Some(slot)
    }

    pub fn place(&self, id: PlaceId) -> &Place {
        &self.places[id.0 as usize]
    }

    /// Whether no rule reads anything.
    pub fn is_empty(&self) -> bool {
        self.strides.iter().all(|stride| *stride == 0)
    }

    fn add(&mut self, frame: FrameId) -> PlaceId {
        self.places.push(Place { frame, slot: None, keys: Vec::new(), elements: None });
        PlaceId(self.places.len() as u32 - 1)
    }
}

impl Default for Reads {
    fn default() -> Self {
        let mut reads = Self { places: Vec::new(), strides: vec![0] };
        reads.add(Self::ROOT);
        reads
    }
}

impl Place {
    pub fn slot(&self) -> Option<Slot> {
        self.slot
    }

    /// The frame a value here is kept in.
    pub fn frame(&self) -> FrameId {
        self.frame
    }

    pub fn keys(&self) -> impl Iterator<Item = (&str, PlaceId)> {
        self.keys.iter().map(|(key, place)| (&**key, *place))
    }

    pub fn child(&self, key: &str) -> Option<PlaceId> {
        self.keys.iter().find(|(known, _)| **known == *key).map(|(_, place)| *place)
    }

    pub fn elements(&self) -> Option<PlaceId> {
        self.elements
    }
}

/// A row of a frame: which of an array's elements, or the event. Only meaningful with its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row(u32);

impl Row {
    /// The one row of [`Reads::ROOT`].
    pub const EVENT: Self = Self(0);
}

/// The values that one pass over an event has found. Made once a thread, and filled again for each event.
#[derive(Debug, Default)]
pub struct Captures {
    frames: Vec<Frame>,
    cells: usize,
}

#[derive(Debug, Default)]
struct Frame {
    cells: Vec<Cell>,
    stride: u32,
}

/// Where a value stands. No value ends where the event begins, so that is an absent one.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    start: u32,
    end: u32,
    /// Of an array that is looked into: its elements' rows.
    first: u32,
    count: u32,
    /// Of a string: whether it has escapes.
    escaped: bool,
    /// Of a number that is written as an integer of few digits: its value.
    integer: Option<i64>,
}

impl Captures {
    /// Forgets the last event, and makes room for what rules read of the next.
    pub fn begin(&mut self, reads: &Reads) {
        self.frames.resize_with(reads.strides.len().max(self.frames.len()), Frame::default);
        for frame in &mut self.frames {
            frame.cells.clear();
            frame.cells.shrink_to(CELLS_KEPT_MAX);
        }
        for (frame, stride) in self.frames.iter_mut().zip(&reads.strides) {
            frame.stride = *stride;
        }
        self.cells = 0;
        self.open_row(Reads::ROOT);
    }

    /// Begins the row of another element. `None` when the event has too many.
    pub fn open_row(&mut self, id: FrameId) -> Option<Row> {
        let frame = &mut self.frames[id.0 as usize];
        let (row, stride) = (frame.cells.len(), frame.stride as usize);
        self.cells += stride.max(1);
        if self.cells > CELLS_MAX {
            return None;
        }
        frame.cells.resize(row + stride, Cell::default());
        Some(Row(row as u32))
    }

    /// Keeps the value that stands at these bytes of the event. `escaped` counts only if it is a string; `integer` is the value
    /// of a number that is written as an integer of at most 18 digits.
    #[inline]
    pub fn keep(&mut self, row: Row, slot: Slot, span: std::ops::Range<usize>, escaped: bool, integer: Option<i64>) {
        let cell = self.cell_mut(row, slot);
        (cell.start, cell.end) = (span.start as u32, span.end as u32);
        (cell.escaped, cell.integer) = (escaped, integer);
    }

    /// Says which rows are the elements of the array in this slot: so many, the first of which is `first`.
    pub fn keep_rows(&mut self, row: Row, slot: Slot, first: Row, count: usize) {
        let cell = self.cell_mut(row, slot);
        (cell.first, cell.count) = (first.0, count as u32);
    }

    /// Where the next row of a frame will begin.
    pub fn next_row(&self, id: FrameId) -> Row {
        Row(self.frames[id.0 as usize].cells.len() as u32)
    }

    fn cell_mut(&mut self, row: Row, slot: Slot) -> &mut Cell {
        &mut self.frames[slot.frame.0 as usize].cells[(row.0 + slot.at) as usize]
    }
}

/// An event's text, and what was found in it.
#[derive(Debug, Clone, Copy)]
pub struct Captured<'e> {
    text: &'e str,
    captures: &'e Captures,
}

impl<'e> Captured<'e> {
    /// `captures` are those of this text, or the values read from them are any.
    pub fn new(text: &'e str, captures: &'e Captures) -> Self {
        Self { text, captures }
    }

    /// The value in a slot; `None` when the event has none there.
    #[inline]
    pub fn value(&self, row: Row, slot: Slot) -> Option<Found<'e>> {
        let cell = &self.captures.frames[slot.frame.0 as usize].cells[(row.0 + slot.at) as usize];
        (cell.end > 0).then_some(Found { text: self.text, cell })
    }

    /// The JSON text of the value in a slot; empty when the event has none there.
    #[inline]
    pub fn bytes(&self, row: Row, slot: Slot) -> &'e [u8] {
        let cell = &self.captures.frames[slot.frame.0 as usize].cells[(row.0 + slot.at) as usize];
        &self.text.as_bytes()[cell.start as usize..cell.end as usize]
    }

    /// The same of a string, its quotes included: what it holds is what is written. `None` for other kinds, and for strings with
    /// escapes.
    #[inline]
    pub fn plain_bytes(&self, row: Row, slot: Slot) -> Option<&'e [u8]> {
        let cell = &self.captures.frames[slot.frame.0 as usize].cells[(row.0 + slot.at) as usize];
        let bytes = &self.text.as_bytes()[cell.start as usize..cell.end as usize];
        (bytes.first() == Some(&b'"') && !cell.escaped).then_some(bytes)
    }
}

/// A value of the event, as it is written.
#[derive(Debug, Clone, Copy)]
pub struct Found<'e> {
    text: &'e str,
    cell: &'e Cell,
}

/// The kinds of JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl<'e> Found<'e> {
    #[inline]
    pub fn kind(&self) -> Kind {
        match self.text.as_bytes().get(self.cell.start as usize) {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The value's JSON text.
    #[inline]
    pub fn json(&self) -> &'e str {
        &self.text[self.cell.start as usize..self.cell.end as usize]
    }

    /// The same, where its characters do not matter.
    #[inline]
    pub fn bytes(&self) -> &'e [u8] {
        &self.text.as_bytes()[self.cell.start as usize..self.cell.end as usize]
    }

    /// What a string holds, where that is what is written; `None` for other kinds, and for strings with escapes.
    #[inline]
    pub fn plain_string(&self) -> Option<&'e str> {
        if self.kind() != Kind::String || self.cell.escaped {
            return None;
        }
        self.text.get(self.cell.start as usize + 1..self.cell.end as usize - 1)
    }

    /// The value of a number that is written as an integer of at most 18 digits.
    #[inline]
    pub fn integer(&self) -> Option<i64> {
        self.cell.integer
    }

    #[inline]
    pub fn is_true(&self) -> bool {
        self.text.as_bytes().get(self.cell.start as usize) == Some(&b't')
    }

    /// Of an array whose elements are looked at: how many there are. 0 for other kinds.
    pub fn len(&self) -> usize {
        self.cell.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.cell.count == 0
    }

    /// The elements' rows in the frame of their place, in order.
    #[inline]
    pub fn rows(&self, captured: &Captured<'_>, frame: FrameId) -> impl ExactSizeIterator<Item = Row> + use<> {
        let (first, stride) = (self.cell.first, captured.captures.frames[frame.0 as usize].stride);
        (0..self.cell.count).map(move |index| Row(first + index * stride))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_however_often_it_is_asked_for() {
        let mut reads = Reads::default();
        assert!(reads.is_empty());
        let total = reads.key(Reads::EVENT, "total");
        assert_eq!(reads.key(Reads::EVENT, "total"), total);
        let slot = reads.slot(total).unwrap();
        assert_eq!(reads.slot(total), Some(slot));
        assert!(!reads.is_empty());
        let lines = reads.key(Reads::EVENT, "lines");
        assert_eq!(reads.elements(lines), reads.elements(lines));
        assert!(reads.place(lines).slot().is_some(), "an array that is looked into has a slot");
    }

    #[test]
    fn slots_are_bounded() {
        let mut reads = Reads::default();
        let slots = (0..2 * SLOTS_MAX).filter(|n| {
            let place = reads.key(Reads::EVENT, &n.to_string());
            reads.slot(place).is_some()
        });
        assert_eq!(slots.count(), SLOTS_MAX);
    }

    #[test]
    fn values_are_found_where_they_were_kept() {
        let mut reads = Reads::default();
        let (total, lines) = (reads.key(Reads::EVENT, "total"), reads.key(Reads::EVENT, "lines"));
        let (total, element) = (reads.slot(total).unwrap(), reads.elements(lines).unwrap());
        let qty = reads.key(element, "qty");
        let (lines, qty) = (reads.slot(lines).unwrap(), reads.slot(qty).unwrap());

        let text = r#"{"lines": [{"qty": 1}, {}, {"qty": "a\n"}], "total": 7}"#;
        let span = |part: &str| text.find(part).map(|at| at..at + part.len()).unwrap();
        let mut captures = Captures::default();
        for _ in 0..2 {
            captures.begin(&reads);
            captures.keep(Row::EVENT, total, span("7"), false, Some(7));
            captures.keep(Row::EVENT, lines, span(r#"[{"qty": 1}, {}, {"qty": "a\n"}]"#), false, None);
            let first = captures.next_row(qty.frame);
            for (part, escaped) in [(Some("1"), false), (None, false), (Some(r#""a\n""#), true)] {
                let row = captures.open_row(qty.frame).unwrap();
                if let Some(part) = part {
                    captures.keep(row, qty, span(part), escaped, None);
                }
            }
            captures.keep_rows(Row::EVENT, lines, first, 3);

            let captured = Captured::new(text, &captures);
            assert_eq!(captured.value(Row::EVENT, total).unwrap().json(), "7");
            let lines = captured.value(Row::EVENT, lines).unwrap();
            assert_eq!((lines.kind(), lines.len()), (Kind::Array, 3));
            let found: Vec<_> = lines.rows(&captured, qty.frame).map(|row| captured.value(row, qty)).collect();
            assert_eq!(found[0].unwrap().kind(), Kind::Number);
            assert!(found[1].is_none());
            assert_eq!((captured.bytes(Row::EVENT, total), found[1].is_some()), (&b"7"[..], false));
            assert_eq!(captured.plain_bytes(Row::EVENT, total), None, "it is a number");
            assert_eq!(found[2].unwrap().kind(), Kind::String);
            assert_eq!(found[2].unwrap().plain_string(), None, "it has an escape");
        }
    }

    #[test]
    fn cells_are_bounded() {
        let mut reads = Reads::default();
        let lines = reads.key(Reads::EVENT, "lines");
        let element = reads.elements(lines).unwrap();
        reads.slot(element).unwrap();
        let frame = reads.place(element).frame();
        let mut captures = Captures::default();
        captures.begin(&reads);
        assert_eq!((0..2 * CELLS_MAX).map_while(|_| captures.open_row(frame)).count(), CELLS_MAX - 1);
    }
}
