//! What binds the members of an object and the elements of an array.

use std::collections::BTreeSet;

use super::binding::Binding;
use super::place::Part;
use super::{Comparison, Goal, Obstacle};

impl<'a> Comparison<'_, 'a> {
    /// One of `properties`, `patternProperties`, `additionalProperties`.
    pub(super) fn members(
        &mut self,
        goal: &Goal,
        binding: &Binding<'a>,
        part: &Part<'a>,
        keyword: &str,
        found: &mut Vec<Obstacle>,
    ) {
        match keyword {
            "properties" => {
                for (name, _) in part.object("properties") {
                    let to = part.below(&["properties", name]);
                    found.extend(self.implies(&goal.below(name, binding.member(self.one, name), to), &[]));
                }
            }
            "patternProperties" => {
                for (pattern, _) in part.object("patternProperties") {
                    let to = || part.below(&["patternProperties", pattern]);
                    for name in binding.property_names() {
                        // One of which it is not known whether it matches must do as if it did.
                        if self.other.matches(pattern, name) != Some(false) {
                            found.extend(self.implies(&goal.below(name, binding.member(self.one, name), to()), &[]));
                        }
                    }
                    let from = binding.matching_members(pattern);
                    found.extend(self.elsewhere(goal, from, to()));
                }
            }
            _ => self.additional(goal, binding, part, found),
        }
    }

    /// What has no schema of its own on the implied side.
    fn additional(&mut self, goal: &Goal, binding: &Binding<'a>, part: &Part<'a>, found: &mut Vec<Obstacle>) {
        let own: BTreeSet<&str> = part.object("properties").map(|(name, _)| name.as_str()).collect();
        let patterns: BTreeSet<&str> = part.object("patternProperties").map(|(pattern, _)| pattern.as_str()).collect();
        let to = || part.below(&["additionalProperties"]);
        for name in binding.property_names() {
            let is_own = own.contains(name);
            if !is_own && !patterns.iter().any(|pattern| self.other.matches(pattern, name) == Some(true)) {
                found.extend(self.implies(&goal.below(name, binding.member(self.one, name), to()), &[]));
            }
        }
        found.extend(self.elsewhere(goal, binding.other_members(&patterns), to()));
    }

    /// Members whose names nobody knows. They are told at the object itself.
    fn elsewhere(
        &mut self,
        goal: &Goal,
        from: Vec<crate::rule::number_types::SchemaAt>,
        to: crate::rule::number_types::SchemaAt,
    ) -> Vec<Obstacle> {
        let keyword =
            if to.1.ends_with("/additionalProperties") { "additionalProperties" } else { "patternProperties" };
        let mut inner = goal.below("", from, to);
        inner.at.clone_from(&goal.at);
        let mut obstacles = self.implies(&inner, &[]);
        for obstacle in obstacles.iter_mut().filter(|obstacle| obstacle.keyword == "false") {
            keyword.clone_into(&mut obstacle.keyword);
        }
        obstacles
    }

    /// `prefixItems` and `items`, or `items` and `additionalItems`: the first elements and the rest.
    pub(super) fn elements(
        &mut self,
        goal: &Goal,
        binding: &Binding<'a>,
        part: &Part<'a>,
        keyword: &str,
        found: &mut Vec<Obstacle>,
    ) {
        let (first, rest) = part.elements();
        let most =
            binding.count("maxItems", true).map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        // Each keyword answers for its own elements alone.
        let is_first = first.first().is_some_and(|place| place == &part.below(&[keyword, "0"]));
        if is_first {
            for (index, to) in first.into_iter().enumerate().take_while(|(index, _)| *index < most) {
                found.extend(self.implies(&goal.below(&index.to_string(), binding.element(index), to), &[]));
            }
            return;
        }
        let Some(to) = rest.filter(|place| place == &part.below(&[keyword])) else { return };
        let known = first.len().max(binding.first_elements());
        for index in (first.len()..known).take_while(|index| *index < most) {
            let goal = goal.below(&index.to_string(), binding.element(index), to.clone());
            found.extend(self.implies(&goal, &[]));
        }
        if known < most {
            found.extend(self.implies(&goal.below("*", binding.element(known), to), &[]));
        }
    }
}
