//! One keyword of the implied side: what stands against its following from what binds the value.

use jsonschema::Draft;
use serde_json::{Map, Value, json};

use super::binding::Binding;
use super::bound::{Bound, Kinds, is_plain};
use super::place::{Part, accepts, same};
use super::{Comparison, Goal, Obstacle};

/// Keywords that judge nothing.
const NOTES: [&str; 19] = [
    "$schema",
    "$id",
    "id",
    "$comment",
    "$defs",
    "definitions",
    "$anchor",
    "$vocabulary",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentSchema",
    "allOf",
    "$ref",
    "$dynamicAnchor",
];

/// Keywords that are not compared: each follows from the same one alone, together with those it depends on.
const WHOLE: [(&str, &[&str]); 15] = [
    ("not", &[]),
    ("oneOf", &[]),
    ("if", &["then", "else"]),
    ("contains", &["minContains", "maxContains"]),
    ("propertyNames", &[]),
    ("dependencies", &[]),
    ("dependentRequired", &[]),
    ("dependentSchemas", &[]),
    ("contentEncoding", &["contentMediaType"]),
    ("contentMediaType", &["contentEncoding"]),
    ("$dynamicRef", &["$dynamicRef"]),
    ("$recursiveRef", &["$recursiveRef"]),
    ("discriminator", &[]),
    ("unevaluatedItems", &[]),
    ("unevaluatedProperties", &[]),
];

/// Keywords that say something of a value without looking into it, so that few values can be asked about one by one.
const OF_VALUES: [&str; 15] = [
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minItems",
    "maxItems",
    "required",
];

type Keyword<'k> = (&'k str, &'k Value);

impl<'a> Comparison<'_, 'a> {
    pub(super) fn keyword(
        &mut self,
        goal: &Goal,
        binding: &Binding<'a>,
        part: &Part<'a>,
        (keyword, value): (&'a String, &'a Value),
        found: &mut Vec<Obstacle>,
    ) {
        let keyword = keyword.as_str();
        if NOTES.contains(&keyword) || !binding.kinds.meets(Kinds::concerned(keyword)) {
            return;
        }
        if !part.knows(keyword) {
            return found.push(self.unknown(goal, &part.below(&[keyword]), keyword, "is of another draft"));
        }
        if let Some(accepts) = self.one_by_one(binding, part, (keyword, value)) {
            if !accepts {
                found.push(self.certain(
                    goal,
                    &part.below(&[keyword]),
                    keyword,
                    &said(binding, keyword),
                    &shown(value),
                ));
            }
            return;
        }
        match keyword {
            "type" => self.types(goal, binding, part, value, found),
            "enum" | "const" => self.listed(goal, binding, part, (keyword, value), found),
            "minimum" | "exclusiveMinimum" => self.bound(goal, binding, part, (keyword, value), false, found),
            "maximum" | "exclusiveMaximum" => self.bound(goal, binding, part, (keyword, value), true, found),
            "multipleOf" => self.multiple(goal, binding, part, value, found),
            "minLength" | "minItems" | "minProperties" => {
                self.count(goal, binding, part, (keyword, value), false, found)
            }
            "maxLength" | "maxItems" | "maxProperties" => {
                self.count(goal, binding, part, (keyword, value), true, found)
            }
            "pattern" | "format" => self.text(goal, binding, part, (keyword, value), found),
            "required" => self.required(goal, binding, part, value, found),
            "properties" | "patternProperties" | "additionalProperties" => {
                self.members(goal, binding, part, keyword, found);
            }
            "items" | "prefixItems" | "additionalItems" => self.elements(goal, binding, part, keyword, found),
            "uniqueItems" => self.unique(goal, binding, part, value, found),
            "anyOf" => self.any_of(goal, binding, part, found),
            _ => self.whole(goal, binding, part, (keyword, value), found),
        }
    }

    /// Whether all values there are pass a keyword, where they are few.
    fn one_by_one(&self, binding: &Binding<'_>, part: &Part<'_>, (keyword, value): Keyword<'_>) -> Option<bool> {
        // Draft 4 writes exclusive limits in two keywords.
        let is_split = part.draft == Draft::Draft4 && Kinds::concerned(keyword) == Kinds::NUMBER;
        if !OF_VALUES.contains(&keyword) || is_split {
            return None;
        }
        let values = binding.plain_values(part.draft)?;
        let mut schema = Map::from_iter([(keyword.to_owned(), value.clone())]);
        schema.insert("$schema".to_owned(), json!(uri(part.draft)?));
        let schema = Value::Object(schema);
        values.iter().try_fold(true, |all, value| Some(all && accepts(&schema, self.other.formats, value)?))
    }

    fn types(&self, goal: &Goal, binding: &Binding<'_>, part: &Part<'_>, value: &Value, found: &mut Vec<Obstacle>) {
        let allowed = Kinds::named(value, part.draft);
        if binding.kinds.less(allowed) != Kinds::NONE {
            let (one, other) = (binding.kinds.names(), allowed.names());
            found.push(self.certain(goal, &part.below(&["type"]), "type", &one, &other));
        }
    }

    fn listed(
        &self,
        goal: &Goal,
        binding: &Binding<'_>,
        part: &Part<'_>,
        (keyword, value): Keyword<'_>,
        found: &mut Vec<Obstacle>,
    ) {
        if binding.said(keyword).any(|other| other == value) {
            return;
        }
        let one = said(binding, keyword);
        // Numbers that two keywords might round in two ways.
        let is_sure = is_plain(value) && binding.values.iter().flatten().all(is_plain) && part.draft != Draft::Draft4;
        found.push(match is_sure || binding.values.is_none() {
            true => self.certain(goal, &part.below(&[keyword]), keyword, &one, &shown(value)),
            false => self.unsure(goal, part, keyword, &one, &shown(value)),
        });
    }

    fn bound(
        &self,
        goal: &Goal,
        binding: &Binding<'_>,
        part: &Part<'_>,
        (keyword, value): Keyword<'_>,
        upper: bool,
        found: &mut Vec<Obstacle>,
    ) {
        let all = Bound::all_of(part.keywords, part.draft, upper);
        // Of the two keywords of a part, the one asked about; draft 4's boolean is told with the number it belongs to.
        let is_it = |bound: &&Bound<'_>| {
            Some(bound.number) == value.as_number()
                && (part.draft == Draft::Draft4 || bound.exclusive == keyword.starts_with("exclusive"))
        };
        let Some(wanted) = all.iter().find(is_it) else { return };
        let bounds = binding.bounds(upper);
        let whole = binding.kinds.is_whole();
        if bounds.iter().any(|bound| bound.implies(wanted, upper, whole)) {
            return;
        }
        let is_sure = super::bound::plain(wanted.number).is_some()
            && bounds.iter().all(|bound| super::bound::plain(bound.number).is_some());
        let one = bounds.iter().map(Bound::shown).collect::<Vec<_>>().join(" and ");
        let one = if one.is_empty() { "not set" } else { &one };
        found.push(match is_sure {
            true => self.certain(goal, &part.below(&[keyword]), keyword, one, &wanted.shown()),
            false => self.unsure(goal, part, keyword, one, &wanted.shown()),
        });
    }

    fn multiple(&self, goal: &Goal, binding: &Binding<'_>, part: &Part<'_>, value: &Value, found: &mut Vec<Obstacle>) {
        let small = |value: &Value| value.as_u64().filter(|n| (1..1 << 53).contains(n));
        let divides = |mine: &Value| match (small(mine), small(value)) {
            (Some(mine), Some(wanted)) => mine % wanted == 0,
            _ => mine == value,
        };
        let mut mine = binding.said("multipleOf").peekable();
        let is_sure = mine.peek().is_none() && !binding.kinds.is_whole();
        if !mine.any(divides) {
            let one = said(binding, "multipleOf");
            found.push(match is_sure {
                true => self.certain(goal, &part.below(&["multipleOf"]), "multipleOf", &one, &shown(value)),
                false => self.unsure(goal, part, "multipleOf", &one, &shown(value)),
            });
        }
    }

    fn count(
        &self,
        goal: &Goal,
        binding: &Binding<'_>,
        part: &Part<'_>,
        (keyword, value): Keyword<'_>,
        upper: bool,
        found: &mut Vec<Obstacle>,
    ) {
        let mine = match keyword {
            // What must be there counts.
            "minProperties" => binding.count(keyword, false).max(Some(binding.required().len() as u64)),
            _ => binding.count(keyword, upper),
        };
        let Some(wanted) = value.as_u64() else {
            if !binding.said(keyword).any(|mine| mine == value) {
                found.push(self.unsure(goal, part, keyword, &said(binding, keyword), &shown(value)));
            }
            return;
        };
        let holds = match upper {
            true => mine.is_some_and(|mine| mine <= wanted),
            false => mine.unwrap_or(0) >= wanted,
        };
        if !holds {
            found.push(self.certain(goal, &part.below(&[keyword]), keyword, &said(binding, keyword), &shown(value)));
        }
    }

    /// A pattern or a format: the same, or not known.
    fn text(
        &self,
        goal: &Goal,
        binding: &Binding<'_>,
        part: &Part<'_>,
        (keyword, value): Keyword<'_>,
        found: &mut Vec<Obstacle>,
    ) {
        let is_format = keyword == "format";
        if is_format && !self.other.formats {
            return;
        }
        let counts = |mine: &&Part<'_>| !is_format || (self.one.formats && mine.draft == part.draft);
        if binding.parts.iter().filter(counts).any(|mine| mine.get(keyword) == Some(value)) {
            return;
        }
        let is_free = binding.said(keyword).next().is_none() || (is_format && !self.one.formats);
        let one = if is_format && !self.one.formats { "not asserted".to_owned() } else { said(binding, keyword) };
        found.push(match is_free && binding.values.is_none() {
            true => self.certain(goal, &part.below(&[keyword]), keyword, &one, &shown(value)),
            false => self.unsure(goal, part, keyword, &one, &shown(value)),
        });
    }

    fn required(&self, goal: &Goal, binding: &Binding<'_>, part: &Part<'_>, value: &Value, found: &mut Vec<Obstacle>) {
        let mine = binding.required();
        let names = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in names.filter(|name| !mine.contains(name)) {
            let place = part.below(&["required"]);
            let told = self.certain(goal, &place, "required", "optional", "required");
            let at = format!("{}/{}", goal.at, name.replace('~', "~0").replace('/', "~1"));
            found.push(Obstacle { at, ..told });
        }
    }

    fn unique(&self, goal: &Goal, binding: &Binding<'_>, part: &Part<'_>, value: &Value, found: &mut Vec<Obstacle>) {
        let is_unique = binding.said("uniqueItems").any(|mine| mine == &Value::Bool(true));
        if value != &Value::Bool(true) || is_unique || binding.count("maxItems", true).is_some_and(|most| most <= 1) {
            return;
        }
        found.push(self.certain(goal, &part.below(&["uniqueItems"]), "uniqueItems", "not set", "true"));
    }

    /// Some alternative must accept all values of each kind.
    fn any_of(&mut self, goal: &Goal, binding: &Binding<'a>, part: &Part<'a>, found: &mut Vec<Obstacle>) {
        let alternatives = part.array("anyOf").len();
        // A single one is laid beside the part it stands in.
        if alternatives < 2 || self.has_same(binding, part, "anyOf", &[]) {
            return;
        }
        for kind in binding.kinds.each() {
            let (mut accepted, mut impossible) = (false, true);
            for index in 0..alternatives.min(super::ALTERNATIVES_MAX) {
                let to = part.below(&["anyOf", &index.to_string()]);
                let obstacles = self.implies(&goal.beside(goal.from.clone(), kind, to), &[]);
                accepted |= obstacles.is_empty();
                impossible &= obstacles.iter().any(|o| o.certain && o.keyword == "type" && o.at == goal.at);
            }
            if !accepted {
                let one = format!("{} accepted", kind.names());
                let other = if impossible { "no alternative for it" } else { "perhaps no alternative for all of it" };
                let told = self.unsure(goal, part, "anyOf", &one, other);
                found.push(Obstacle { certain: impossible && alternatives <= super::ALTERNATIVES_MAX, ..told });
            }
        }
    }

    /// A keyword that follows from itself alone.
    fn whole(
        &self,
        goal: &Goal,
        binding: &Binding<'_>,
        part: &Part<'_>,
        (keyword, value): Keyword<'_>,
        found: &mut Vec<Obstacle>,
    ) {
        let Some((_, beside)) = WHOLE.iter().find(|(name, _)| *name == keyword) else { return };
        let is_choice_of_one = keyword == "oneOf" && part.array("oneOf").len() == 1;
        let follows = match keyword {
            "$dynamicRef" | "$recursiveRef" => false,
            // They depend on all that stands around them.
            "unevaluatedItems" | "unevaluatedProperties" => {
                value == &Value::Bool(true) || binding.parts.iter().any(|mine| self.is_same_part(mine, part))
            }
            _ => is_choice_of_one || self.has_same(binding, part, keyword, beside),
        };
        if !follows {
            let one = if binding.said(keyword).next().is_some() { "another" } else { "not set" };
            found.push(self.unsure(goal, part, keyword, one, "set"));
        }
    }

    /// Whether some part of the implying side has the same keyword, and the same of those it depends on.
    pub(super) fn has_same(&self, binding: &Binding<'_>, part: &Part<'_>, keyword: &str, beside: &[&str]) -> bool {
        let is_same = |mine: &Part<'_>, name: &str| match (mine.get(name), part.get(name)) {
            (Some(a), Some(b)) => same(self.one, (&mine.place.0, a), self.other, (&part.place.0, b)),
            (a, b) => a.is_none() && b.is_none(),
        };
        binding.parts.iter().any(|mine| is_same(mine, keyword) && beside.iter().all(|name| is_same(mine, name)))
    }

    fn is_same_part(&self, mine: &Part<'_>, part: &Part<'_>) -> bool {
        let whole = |keywords: &Map<String, Value>| Value::Object(keywords.clone());
        let (a, b) = (whole(mine.keywords), whole(part.keywords));
        same(self.one, (&mine.place.0, &a), self.other, (&part.place.0, &b))
    }
}

/// What the implying side says under a keyword.
pub(super) fn said(binding: &Binding<'_>, keyword: &str) -> String {
    let said: Vec<String> = binding.said(keyword).map(shown).collect();
    match (said.is_empty(), keyword, &binding.values) {
        (false, ..) => said.join(" and "),
        (true, "enum" | "const", Some(values)) => shown(&Value::Array(values.clone())),
        (true, "enum" | "const", None) => binding.kinds.names(),
        _ => "not set".to_owned(),
    }
}

/// A value of a schema on one short line.
pub(super) fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 80;
    let text = match value {
        Value::Array(values) => values.iter().map(Value::to_string).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    };
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What `$schema` calls a draft.
fn uri(draft: Draft) -> Option<&'static str> {
    Some(match draft {
        Draft::Draft4 => "http://json-schema.org/draft-04/schema#",
        Draft::Draft6 => "http://json-schema.org/draft-06/schema#",
        Draft::Draft7 => "http://json-schema.org/draft-07/schema#",
        Draft::Draft201909 => "https://json-schema.org/draft/2019-09/schema",
        Draft::Draft202012 => "https://json-schema.org/draft/2020-12/schema",
        _ => return None,
    })
}
