//! Parser events to [`Document`], within the bounds that [`super`] names.

use std::collections::HashMap;

use super::*;

/// Builds the tree without recursion, so that depth costs no stack before the bound is reached.
struct Loader<'t> {
    text: &'t str,
    /// Byte offset of each character, and the text's length; empty for ASCII, where they are the same.
    byte_offsets: Vec<usize>,
    open: Vec<Open>,
    root: Option<Node>,
    /// Finished anchored values, by the parser's anchor id.
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    text_bytes: usize,
    faults: Vec<YamlFault>,
}

/// A collection whose end has not come yet.
struct Open {
    start: usize,
    anchor: usize,
    content: Content,
    /// A mapping's key that waits for its value.
    key: Option<Key>,
    /// Where each key of a mapping stood first.
    seen: HashMap<String, usize>,
}

/// Nothing reliable follows: the last fault says why.
struct Stop;

pub(super) fn load(bytes: &[u8]) -> Result<Document, Vec<YamlFault>> {
    if bytes.len() > BYTES_MAX {
        let message = format!("the file has {} bytes; a YAML rule file has at most {BYTES_MAX}", bytes.len());
        return Err(vec![fault(0..0, YamlFaultKind::TooLarge, message)]);
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        let end = at + e.error_len().unwrap_or(bytes.len() - at);
        vec![fault(at..end, YamlFaultKind::Syntax, "the file is not UTF-8 here".to_owned())]
    })?;
    let mut loader = Loader::new(text);
    let stopped = loader.run().is_err();
    match loader.root {
        Some(root) if loader.faults.is_empty() && !stopped => Ok(Document { value: to_value(&root), root }),
        _ => Err(loader.faults),
    }
}

fn fault(span: Range<usize>, kind: YamlFaultKind, message: String) -> YamlFault {
    YamlFault { span, kind, message, hint: None }
}

impl<'t> Loader<'t> {
    fn new(text: &'t str) -> Self {
        let byte_offsets = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
        };
        Self {
            text,
            byte_offsets,
            open: Vec::new(),
            root: None,
            anchors: BTreeMap::new(),
            nodes: 0,
            text_bytes: 0,
            faults: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), Stop> {
        let mut documents = 0;
        for event in Parser::new_from_str(self.text) {
            let (event, span) = event.map_err(|e| self.syntax(&e))?;
            let span = self.byte(span.start)..self.byte(span.end);
            if self.faults.len() >= FAULTS_MAX {
                return Err(Stop);
            }
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(self.stop(
                            span,
                            YamlFaultKind::NotData,
                            "a rule file holds one YAML document; this is the second".to_owned(),
                            Some("put it into a file of its own"),
                        ));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let tag = tag.map(Cow::into_owned);
                    self.tagged(tag.as_ref(), &span);
                    let forced = tag.is_some_and(|t| t.is_yaml_core_schema() && t.suffix == "str");
                    let style = if forced && style == ScalarStyle::Plain { ScalarStyle::SingleQuoted } else { style };
                    self.scalar(text, style, anchor, span)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.tagged(tag.as_deref(), &span);
                    self.begin(span, anchor, Content::Sequence(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.tagged(tag.as_deref(), &span);
                    self.begin(span, anchor, Content::Mapping(Vec::new()))?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(span.end)?,
                Event::Alias(anchor) => self.alias(anchor, span)?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        if self.root.is_none() {
            return Err(self.stop(0..0, YamlFaultKind::NotData, "the file is empty".to_owned(), None));
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        span: Range<usize>,
    ) -> Result<(), Stop> {
        // A key has no value of its own; only what it names counts.
        if let Some(open) = self.open.last_mut()
            && matches!(open.content, Content::Mapping(_))
            && open.key.is_none()
        {
            self.text_bytes += text.len();
            self.within_bounds(&span)?;
            return self.key(Key { text: text.into_owned(), span });
        }
        self.nodes += 1;
        self.text_bytes += text.len();
        self.within_bounds(&span)?;
        if style == ScalarStyle::Plain && is_not_finite(&text) {
            let message = format!("`{text}` has no place in JSON, so no event can hold it");
            self.faults.push(fault(span.clone(), YamlFaultKind::NotData, message));
        }
        self.place(Node { span, content: Content::Scalar(text.into_owned(), style) }, anchor)
    }

    fn key(&mut self, key: Key) -> Result<(), Stop> {
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        if let Some(first) = open.seen.get(&key.text) {
            let line = 1 + self.text[..*first].matches('\n').count();
            let message = format!("key `{}` stands here twice; first on line {line}", key.text);
            let hint = Some("keep one of them".to_owned());
            let kind = YamlFaultKind::DuplicateKey;
            self.faults.push(YamlFault { span: key.span.clone(), kind, message, hint });
        } else {
            open.seen.insert(key.text.clone(), key.span.start);
        }
        open.key = Some(key);
        Ok(())
    }

    fn begin(&mut self, span: Range<usize>, anchor: usize, content: Content) -> Result<(), Stop> {
        self.nodes += 1;
        self.within_bounds(&span)?;
        if let Some(open) = self.open.last()
            && matches!(open.content, Content::Mapping(_))
            && open.key.is_none()
        {
            let message = "a key is text here, not a list or a mapping".to_owned();
            let hint = "a template such as {{ name }} needs quotes";
            return Err(self.stop(span, YamlFaultKind::NotData, message, Some(hint)));
        }
        if self.open.len() == DEPTH_MAX {
            let message = format!("lists and mappings nest deeper than {DEPTH_MAX} here");
            return Err(self.stop(span, YamlFaultKind::TooLarge, message, None));
        }
        self.open.push(Open { start: span.start, anchor, content, key: None, seen: HashMap::new() });
        Ok(())
    }

    fn end(&mut self, end: usize) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let end = self.text[..end.max(open.start)].trim_end().len().max(open.start);
        self.place(Node { span: open.start..end, content: open.content }, open.anchor)
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>) -> Result<(), Stop> {
        let Some(node) = self.anchors.get(&anchor) else {
            let message = "an alias cannot stand inside the value it names".to_owned();
            return Err(self.stop(span, YamlFaultKind::NotData, message, None));
        };
        let (nodes, text_bytes) = node.weight();
        self.nodes += nodes;
        self.text_bytes += text_bytes;
        self.within_bounds(&span)?;
        let mut node = self.anchors[&anchor].clone();
        if self.open.len() + node.depth() > DEPTH_MAX {
            let message = format!("lists and mappings nest deeper than {DEPTH_MAX} here, with this alias unfolded");
            return Err(self.stop(span, YamlFaultKind::TooLarge, message, None));
        }
        if let Some(open) = self.open.last()
            && matches!(open.content, Content::Mapping(_))
            && open.key.is_none()
        {
            return match node.content {
                Content::Scalar(text, _) => self.key(Key { text, span }),
                _ => Err(self.stop(span, YamlFaultKind::NotData, "a key is text here, not an alias".to_owned(), None)),
            };
        }
        // A message about the unfolded value points to the alias only when the value itself is meant.
        if matches!(node.content, Content::Scalar(..)) {
            node.span = span;
        }
        self.place(node, 0)
    }

    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { content: Content::Sequence(nodes), .. }) => nodes.push(node),
            Some(Open { content: Content::Mapping(entries), key, .. }) => {
                if let Some(key) = key.take() {
                    entries.push((key, node));
                }
            }
            Some(Open { content: Content::Scalar(..), .. }) => {}
        }
        Ok(())
    }

    /// Tags other than YAML's own say something about meaning that JSON cannot carry.
    fn tagged(&mut self, tag: Option<&saphyr_parser::Tag>, span: &Range<usize>) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            let message = format!("tag `{tag}` has no meaning in a rule file");
            self.faults.push(fault(span.clone(), YamlFaultKind::NotData, message));
        }
    }

    fn within_bounds(&mut self, span: &Range<usize>) -> Result<(), Stop> {
        let message = if self.nodes > NODES_MAX {
            format!("the file holds more than {NODES_MAX} values, aliases unfolded")
        } else if self.text_bytes > TEXT_BYTES_MAX {
            format!("the file holds more than {TEXT_BYTES_MAX} bytes of text, aliases unfolded")
        } else {
            return Ok(());
        };
        Err(self.stop(span.clone(), YamlFaultKind::TooLarge, message, None))
    }

    fn stop(&mut self, span: Range<usize>, kind: YamlFaultKind, message: String, hint: Option<&str>) -> Stop {
        self.faults.push(YamlFault { span, kind, message, hint: hint.map(str::to_owned) });
        Stop
    }

    fn syntax(&mut self, error: &ScanError) -> Stop {
        let at = self.byte(*error.marker());
        let end = self.text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        let tab =
            self.text[..end].rsplit('\n').next().is_some_and(|line| line.trim_start_matches(' ').starts_with('\t'));
        // Of a text that goes on with a tab, the parser names the beginning.
        let behind = error.info().contains("tab").then(|| self.text[at..].find("\n\t")).flatten();
        let (at, end) = behind.map_or((at, end), |line| (at + line + 1, at + line + 2));
        let hint = (tab || behind.is_some()).then_some("YAML is indented with spaces, never tabs");
        // The parser reads ahead, so on brackets its own bound is met before ours.
        if error.info() == "recursion limit exceeded" {
            let message = format!("lists and mappings nest deeper than {DEPTH_MAX} here");
            return self.stop(at..end, YamlFaultKind::TooLarge, message, None);
        }
        self.stop(at..end, YamlFaultKind::Syntax, format!("not YAML: {}", error.info()), hint)
    }

    fn byte(&self, marker: Marker) -> usize {
        if self.byte_offsets.is_empty() {
            marker.index().min(self.text.len())
        } else {
            self.byte_offsets.get(marker.index()).copied().unwrap_or(self.text.len())
        }
    }
}

impl Node {
    /// Values, and bytes of text, of the whole tree.
    fn weight(&self) -> (usize, usize) {
        let sum = |(a, b): (usize, usize), (c, d): (usize, usize)| (a + c, b + d);
        match &self.content {
            Content::Scalar(text, _) => (1, text.len()),
            Content::Sequence(nodes) => nodes.iter().map(Self::weight).fold((1, 0), sum),
            Content::Mapping(entries) => {
                entries.iter().map(|(key, node)| sum((0, key.text.len()), node.weight())).fold((1, 0), sum)
            }
        }
    }

    fn depth(&self) -> usize {
        match &self.content {
            Content::Scalar(..) => 0,
            Content::Sequence(nodes) => 1 + nodes.iter().map(Self::depth).max().unwrap_or(0),
            Content::Mapping(entries) => 1 + entries.iter().map(|(_, node)| node.depth()).max().unwrap_or(0),
        }
    }
}

fn to_value(node: &Node) -> Value {
    match &node.content {
        Content::Scalar(text, ScalarStyle::Plain) => resolve(text),
        Content::Scalar(text, _) => Value::String(text.clone()),
        Content::Sequence(nodes) => Value::Array(nodes.iter().map(to_value).collect()),
        Content::Mapping(entries) => {
            Value::Object(entries.iter().map(|(key, node)| (key.text.clone(), to_value(node))).collect())
        }
    }
}

/// A plain scalar's value, YAML 1.2.2 section 10.3.2.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let based = |prefix, radix| text.strip_prefix(prefix).and_then(|digits| u64::from_str_radix(digits, radix).ok());
    if let Some(number) = based("0x", 16).or_else(|| based("0o", 8)) {
        return Value::from(number);
    }
    number(text).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// A decimal in YAML's form, rewritten to JSON's: no plus sign, no leading zeros, a digit on both sides of the point.
fn number(text: &str) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let decimal = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let exponent_is_good = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && decimal(e)
    });
    if !decimal(whole) || !decimal(fraction) || (whole.is_empty() && fraction.is_empty()) || !exponent_is_good {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    };
    let mut json = format!("{sign}{whole}");
    if !fraction.is_empty() {
        json = json + "." + fraction;
    }
    if let Some(exponent) = exponent {
        json = json + "e" + exponent;
    }
    serde_json::from_str(&json).ok()
}

fn is_not_finite(text: &str) -> bool {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    matches!(bare, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
}
