//! Source to syntax tree, within bounds that keep the recursive parser safe.

use cel::common::ast::SourceInfo;
use cel::{Env, IdedExpr, ParseErrors};

use super::ExpressionFault;

/// The longest expression, in bytes.
pub const SOURCE_MAX: usize = 4096;

/// How deep brackets, and conditionals in each other's branches, may be nested. The parser recurses some fifteen calls a
/// level.
pub const NESTING_MAX: usize = 32;

/// How many operators of one chain the parser is given. What it makes of them is bounded by `DEPTH_MAX`.
const CHAIN_MAX: usize = 128;

/// A parsed expression, and where its nodes stand in the source.
pub(super) struct Parsed<'s> {
    pub(super) root: IdedExpr,
    source: &'s str,
    program: cel::Program,
}

impl Parsed<'_> {
    /// The byte at which the node begins; that of a selection is its dot, that of a call its bracket.
    pub(super) fn offset(&self, id: u64) -> usize {
        let info: &SourceInfo = self.program.source_info();
        let start = info.offset_for(id).map_or(0, |(start, _)| start as usize).min(self.source.len());
        (0..=start).rev().find(|at| self.source.is_char_boundary(*at)).unwrap_or(0)
    }

    /// The byte at which `name` begins, whose call or selection is this node.
    pub(super) fn offset_of_name(&self, id: u64, name: &str) -> usize {
        let offset = self.offset(id);
        let before = self.source[..offset].trim_end();
        if before.ends_with(name) {
            return before.len() - name.len();
        }
        self.source[offset..].find(name).map_or(offset, |at| offset + at)
    }
}

pub(super) fn parse<'s>(source: &'s str, env: &Env) -> Result<Parsed<'s>, ExpressionFault> {
    check_bounds(source)?;
    let program = env.compile(source).map_err(|errors| fault(source, &errors))?;
    Ok(Parsed { root: program.expression().clone(), source, program })
}

/// Bounds the parser's recursion without parsing.
fn check_bounds(source: &str) -> Result<(), ExpressionFault> {
    if source.len() > SOURCE_MAX {
        let message = format!("the expression has {} bytes; at most {SOURCE_MAX} are taken", source.len());
        let hint = Some("split it into several rules, or keep long lists of values under reference:".to_owned());
        return Err(ExpressionFault { offset: SOURCE_MAX, message, hint });
    }
    if source.trim().is_empty() {
        return Err(ExpressionFault { offset: 0, message: "the expression is empty".to_owned(), hint: None });
    }
    let mut shape = Shape::default();
    for (offset, token) in tokens(source) {
        shape.meet(token, &source.as_bytes()[..offset]);
        let (deep, limit) = match (shape.outer.len() > NESTING_MAX, shape.depth() > CHAIN_MAX) {
            (true, _) => ("brackets or conditionals are nested", NESTING_MAX),
            (_, true) => ("operators are chained", CHAIN_MAX),
            _ => continue,
        };
        let message = format!("{deep} more than {limit} deep");
        return Err(ExpressionFault { offset, message, hint: Some("split it into several rules".to_owned()) });
    }
    Ok(())
}

/// How deep a syntax tree can get, as far as tokens tell: brackets and conditionals nest, and so does each operator of a
/// chain. `&&` and `||` do not, the parser balances them.
#[derive(Default)]
struct Shape {
    chain: Chain,
    /// Of the open brackets, and of the conditionals whose branches are not over.
    outer: Vec<Chain>,
    /// Of the chains in `outer`.
    outer_depth: usize,
}

#[derive(Default, Clone, Copy)]
struct Chain {
    operators: usize,
    /// Selections, calls and indexes since the last operator.
    postfix: usize,
    conditional: bool,
}

impl Shape {
    fn depth(&self) -> usize {
        self.outer.len() + self.outer_depth + self.chain.operators + self.chain.postfix
    }

    fn meet(&mut self, token: u8, before: &[u8]) {
        match token {
            b'(' | b'[' | b'{' => {
                self.chain.postfix += 1;
                self.open(false);
            }
            b')' | b']' | b'}' => {
                self.close_conditionals();
                self.close();
            }
            b',' => {
                self.close_conditionals();
                self.chain = Chain::default();
            }
            b'?' if !before.ends_with(b".") && !before.ends_with(b"[") => self.open(true),
            b'&' | b'|' | b':' => self.chain = Chain::default(),
            b'.' => self.chain.postfix += 1,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' => self.operator(),
            b'n' if before.ends_with(b"i") && !before.len().checked_sub(2).is_some_and(|at| is_word(before[at])) => {
                // `in`, or a longer word that begins so: counting that one does no harm.
                self.operator();
            }
            _ => {}
        }
    }

    fn operator(&mut self) {
        self.chain = Chain { operators: self.chain.operators + 1, postfix: 0, ..self.chain };
    }

    fn open(&mut self, conditional: bool) {
        self.outer_depth += self.chain.operators + self.chain.postfix;
        self.outer.push(Chain { conditional, ..self.chain });
        self.chain = Chain::default();
    }

    fn close_conditionals(&mut self) {
        while self.outer.last().is_some_and(|chain| chain.conditional) {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(chain) = self.outer.pop() {
            self.outer_depth -= chain.operators + chain.postfix;
            self.chain = chain;
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The bytes that are code: outside string literals and comments, white space left out.
fn tokens(source: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    let bytes = source.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let byte = *bytes.get(at)?;
            let start = at;
            match byte {
                b'"' | b'\'' => at = end_of_string(bytes, at),
                b'/' if bytes.get(at + 1) == Some(&b'/') => {
                    at += bytes[at..].iter().position(|&b| b == b'\n').unwrap_or(bytes.len() - at);
                    continue;
                }
                _ => at += 1,
            }
            if !byte.is_ascii_whitespace() {
                return Some((start, byte));
            }
        }
    })
}

/// Past the string literal that begins at `at`. A raw one (`r"\"`) ends at its first quote.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let prefix = bytes[..at].iter().rev().take(2).take_while(|b| b"rRbB".contains(b));
    let raw = prefix.clone().any(|b| b"rR".contains(b));
    let triple = bytes[at..].starts_with(&[quote; 3]);
    let mut end = at + if triple { 3 } else { 1 };
    while end < bytes.len() {
        match bytes[end] {
            b'\\' if !raw => end += 2,
            byte if byte == quote && (!triple || bytes[end..].starts_with(&[quote; 3])) => {
                return end + if triple { 3 } else { 1 };
            }
            _ => end += 1,
        }
    }
    bytes.len()
}

/// The parser's first error, at the byte it names.
fn fault(source: &str, errors: &ParseErrors) -> ExpressionFault {
    // After an error of the grammar come others, about trees that were not finished.
    let of_grammar = errors.errors.iter().find(|error| error.msg.starts_with(SYNTAX));
    let Some(first) = of_grammar.or_else(|| errors.errors.first()) else {
        return ExpressionFault { offset: 0, message: "not an expression".to_owned(), hint: None };
    };
    let line = usize::try_from(first.pos.0).unwrap_or(1).max(1);
    let column = usize::try_from(first.pos.1).unwrap_or(1).max(1);
    let before: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let text = source[before..].split('\n').next().unwrap_or_default();
    let offset = before + byte_of(text, column - 1);
    let end = source.trim_end().len();
    let message = first.msg.strip_prefix(SYNTAX).unwrap_or(&first.msg);
    match plain(message) {
        message if message.starts_with(UNCLOSED) => ExpressionFault { offset, message, hint: None },
        // The parser names what it could not finish, or the end it met.
        message if offset >= end || message.starts_with("Incomplete ") => {
            let missing = message.split_once(MISSING).map(|(what, _)| format!(": {what}{MISSING}")).unwrap_or_default();
            ExpressionFault {
                offset: end,
                message: format!("the expression ends here, too early{missing}"),
                hint: None,
            }
        }
        message => ExpressionFault { offset, message, hint: hint(source) },
    }
}

const SYNTAX: &str = "Syntax error: ";
const UNCLOSED: &str = "a text without its closing quote";
const MISSING: &str = " is missing";

/// The parser's words, in ours.
fn plain(message: &str) -> String {
    if let Some(text) = message.strip_prefix("token recognition error at: '") {
        return match text.strip_suffix('\'').unwrap_or(text).trim_end() {
            quoted if quoted.starts_with(['"', '\'']) => UNCLOSED.to_owned(),
            other => format!("not expected here: '{other}'"),
        };
    }
    if let Some((what, before)) = message.strip_prefix("missing ").and_then(|rest| rest.split_once(" at ")) {
        return format!("{what}{MISSING} before {before}");
    }
    if let Some(word) = message.strip_prefix("reserved identifier: ") {
        return format!("not expected here: '{word}', a word CEL reserves");
    }
    // What could stand there instead is a list of everything.
    let what = message.split_once(" expecting ").map_or(message, |(what, _)| what);
    let prefixes = ["mismatched input ", "extraneous input ", "no viable alternative at input "];
    match prefixes.iter().find_map(|prefix| what.strip_prefix(prefix)) {
        Some(what) => format!("not expected here: {what}"),
        None => what.to_owned(),
    }
}

/// What people used to other languages write.
fn hint(source: &str) -> Option<String> {
    let mut code = vec![b' '; source.len()];
    tokens(source).for_each(|(at, byte)| code[at] = byte);
    let code = String::from_utf8(code).unwrap_or_default();
    let has = |word: &str| code.split(|c: char| !c.is_alphanumeric()).any(|w| w == word);
    let hint = if code.contains("===") || code.contains("!==") {
        "CEL compares with == and !="
    } else if has("and") || has("or") || has("not") {
        "CEL writes && for and, || for or, ! for not"
    } else if code.contains("<>") || code.contains("=!") {
        "CEL writes != for what is not equal"
    } else if code.contains(" = ") || has("is") {
        "CEL compares with =="
    } else if has("if") || has("then") || has("else") {
        "CEL writes condition ? one : other; what a rule is only for goes under when:"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// The byte at which the character of this index begins.
fn byte_of(text: &str, character: usize) -> usize {
    text.char_indices().nth(character).map_or(text.len(), |(byte, _)| byte)
}
