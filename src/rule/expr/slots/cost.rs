//! The most an expression can cost, before any event is seen.

use cel::IdedExpr;
use cel::common::ast::Expr;

use super::macros::{each_child, nodes};

/// How many nodes of its syntax tree an evaluation visits at most: `outside`, and for each element of a list that is looped
/// over `a_turn`, and for each element of a list inside that `an_inner_turn`. Of several loops, those of one depth are added up.
///
/// An event whose lists have at most `n` elements thus costs at most `outside + n * a_turn + n * n * an_inner_turn` nodes. Loops
/// are nested no deeper ([`LOOPS_MAX`](crate::rule::expr::LOOPS_MAX)). A node is a few nanoseconds compiled, and some hundred in
/// the `cel` crate; a text is read in addition, once for each node that looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    pub outside: usize,
    pub a_turn: usize,
    pub an_inner_turn: usize,
}

impl Cost {
    pub(in crate::rule::expr) fn of(written: &IdedExpr) -> Self {
        let mut by_depth = [0; 3];
        add(written, 0, &mut by_depth);
        let [outside, a_turn, an_inner_turn] = by_depth;
        Self { outside, a_turn, an_inner_turn }
    }

    /// Of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            outside: self.outside + other.outside,
            a_turn: self.a_turn + other.a_turn,
            an_inner_turn: self.an_inner_turn + other.an_inner_turn,
        }
    }

    /// The nodes visited at most, with lists of so many elements.
    pub fn nodes(&self, elements: usize) -> usize {
        let turns = self.an_inner_turn.saturating_mul(elements).saturating_add(self.a_turn);
        turns.saturating_mul(elements).saturating_add(self.outside)
    }
}

fn add(node: &IdedExpr, depth: usize, by_depth: &mut [usize; 3]) {
    by_depth[depth] += 1;
    let Expr::Comprehension(loop_) = &node.expr else {
        each_child(node, &mut |child| add(child, depth, by_depth));
        return;
    };
    [&loop_.iter_range, &loop_.accu_init, &loop_.result].into_iter().for_each(|part| add(part, depth, by_depth));
    // Macros that only bind a name run over an empty list.
    let binds = matches!(&loop_.iter_range.expr, Expr::List(list) if list.elements.is_empty());
    let inside = if binds { depth } else { (depth + 1).min(2) };
    by_depth[inside] += nodes(&loop_.loop_cond);
    add(&loop_.loop_step, inside, by_depth);
}
