//! Random conditions over the event with everything: mostly of types that fit, now and then of others.

use fastrand::Rng;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Bool,
    Int,
    Double,
    Text,
    Time,
    Span,
    Any,
}

use Type::{Any, Bool, Double, Int, Span, Text, Time};

/// A source, and the variables of the loops around.
struct Writer<'r> {
    rng: &'r mut Rng,
    /// Their names; an upper-case one is an object of `this.l`.
    variables: Vec<&'static str>,
}

pub fn source(rng: &mut Rng) -> String {
    Writer { rng, variables: Vec::new() }.write(Bool, 4)
}

impl Writer<'_> {
    fn pick(&mut self, choices: &[&str]) -> String {
        choices[self.rng.usize(..choices.len())].to_owned()
    }

    fn write(&mut self, wanted: Type, depth: usize) -> String {
        let wanted =
            if self.rng.u8(..20) == 0 { [Bool, Int, Double, Text, Time, Any][self.rng.usize(..6)] } else { wanted };
        if depth == 0 || self.rng.u8(..4) == 0 {
            return self.leaf(wanted);
        }
        let deeper = depth - 1;
        match wanted {
            Bool => self.condition(deeper),
            Int | Double => self.number(wanted, deeper),
            Text | Any => match self.rng.u8(..3) {
                0 => format!(
                    "({} ? {} : {})",
                    self.write(Bool, deeper),
                    self.write(wanted, deeper),
                    self.write(wanted, deeper)
                ),
                _ => self.leaf(wanted),
            },
            Time => match self.rng.u8(..3) {
                0 => format!("({} + {})", self.write(Time, deeper), self.write(Span, deeper)),
                1 => format!("({} - {})", self.write(Time, deeper), self.write(Span, deeper)),
                _ => self.leaf(Time),
            },
            Span => match self.rng.u8(..3) {
                0 => format!("({} - {})", self.write(Time, deeper), self.write(Time, deeper)),
                1 => format!("({} + {})", self.write(Span, deeper), self.write(Span, deeper)),
                _ => self.leaf(Span),
            },
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        let compared = [Int, Double, Text, Time, Span, Any, Bool][self.rng.usize(..7)];
        match self.rng.u8(..12) {
            0 | 1 => format!("({} && {})", self.write(Bool, depth), self.write(Bool, depth)),
            2 => format!("({} || {})", self.write(Bool, depth), self.write(Bool, depth)),
            3 => format!("!{}", self.write(Bool, depth)),
            4 => format!("({} ? {} : {})", self.write(Bool, depth), self.write(Bool, depth), self.write(Bool, depth)),
            5 | 6 => self.quantifier(depth),
            7 => {
                let method = self.pick(&["startsWith", "endsWith", "contains"]);
                format!("{}.{method}({})", self.write(Text, depth), self.write(Text, depth))
            }
            8 => self.contained(depth),
            _ => {
                let operator = self.pick(&["==", "!=", "<", "<=", ">", ">="]);
                format!("({} {operator} {})", self.write(compared, depth), self.write(compared, depth))
            }
        }
    }

    fn contained(&mut self, depth: usize) -> String {
        let list = match self.rng.u8(..3) {
            0 => self.pick(&["this.p", "this.q", "this.mixed", "this.e", "this.s", "this.l"]),
            1 => self.pick(&["[1, 2.0, 'a', null]", "['ab', 'b', 'x']", "[]", "[true, 1]"]),
            _ => format!("[{}, {}]", self.leaf(Any), self.leaf(Any)),
        };
        format!("({} in {list})", self.write(Any, depth))
    }

    fn number(&mut self, wanted: Type, depth: usize) -> String {
        let other = if self.rng.u8(..4) == 0 { Int } else { wanted };
        match self.rng.u8(..8) {
            0 => format!("-{}", self.write(wanted, depth)),
            1 => {
                format!("({} ? {} : {})", self.write(Bool, depth), self.write(wanted, depth), self.write(other, depth))
            }
            2 if wanted == Int => format!("size({})", self.write(Text, depth)),
            2 => format!("double({})", self.write(other, depth)),
            3 | 4 => self.aggregate(wanted, depth),
            _ => {
                let operator = self.pick(&["+", "-", "*", "/", "%", "+", "-"]);
                format!("({} {operator} {})", self.write(wanted, depth), self.write(other, depth))
            }
        }
    }

    /// A loop's source; its variable stands for an element inside.
    fn in_loop(&mut self, write: impl FnOnce(&mut Self, &str, &str) -> String) -> Option<String> {
        if self.variables.len() == 2 {
            return None;
        }
        let nested = self.variables.iter().find(|variable| variable.starts_with('X')).copied();
        let (list, variable) = match (self.rng.u8(..6), nested) {
            (0, _) => ("this.p".to_owned(), "p"),
            (1, _) => (self.pick(&["this.q", "this.mixed", "this.e", "this.absent", "this.s"]), "q"),
            (2, Some(outer)) => (format!("{outer}.l"), "p"),
            _ => ("this.l".to_owned(), if nested.is_some() { "XX" } else { "X" }),
        };
        self.variables.push(variable);
        let written = write(self, &list, variable);
        self.variables.pop();
        Some(written)
    }

    fn quantifier(&mut self, depth: usize) -> String {
        let method = self.pick(&["all", "exists", "exists_one"]);
        let written = self.in_loop(|inner, list, x| format!("{list}.{method}({x}, {})", inner.write(Bool, depth)));
        written.unwrap_or_else(|| self.leaf(Bool))
    }

    fn aggregate(&mut self, wanted: Type, depth: usize) -> String {
        let kind = self.rng.u8(..5);
        let written = self.in_loop(|inner, list, x| match kind {
            0 => format!("{list}.filter({x}, {}).size()", inner.write(Bool, depth)),
            1 => format!("{list}.size()"),
            2 => {
                let guard = inner.write(Bool, depth);
                format!("{list}.filter({x}, {guard}).map({x}, {}).sum()", inner.write(wanted, depth))
            }
            3 => {
                let guard = inner.write(Bool, depth);
                format!("{list}.map({x}, {guard}, {}).sum()", inner.write(wanted, depth))
            }
            _ => format!("sum({list}.map({x}, {}))", inner.write(wanted, depth)),
        });
        written.unwrap_or_else(|| self.leaf(wanted))
    }

    fn leaf(&mut self, wanted: Type) -> String {
        let object = self.variables.iter().rev().find(|variable| variable.starts_with('X')).copied();
        let scalar = self.variables.iter().rev().find(|variable| !variable.starts_with('X')).copied();
        match (self.rng.u8(..4), object, scalar) {
            (0 | 1, Some(object), _) => {
                let field = match wanted {
                    Bool => {
                        return self
                            .pick(&["X.b", "has(X.b)", "has(X.absent)", "has(X.s.absent)"])
                            .replace('X', object);
                    }
                    Int => "i",
                    Double => "n",
                    Text => "s",
                    Time | Span => "absent",
                    Any => "l",
                };
                return format!("{object}.{field}");
            }
            (0 | 1, _, Some(scalar)) => return scalar.to_owned(),
            _ => {}
        }
        let choices: &[&str] = match wanted {
            Bool => &[
                "this.b",
                "true",
                "false",
                "has(this.z)",
                "has(this.o.o.s)",
                "has(this.absent)",
                "this.o.o.b",
                "has(record.explicitHashKey)",
                "has(this.s.x)",
            ],
            Int => &[
                "this.i",
                "this.j",
                "1",
                "0",
                "-2",
                "9223372036854775807",
                "this.o.i",
                "this.free.i",
                "event.data.i",
                "record.size",
                "size(this.q)",
                "size(this.s)",
                "this.absent",
            ],
            Double => &[
                "this.n",
                "this.m",
                "1.5",
                "0.0",
                "-2.0",
                "1e300",
                "this.o.n",
                "this.free.n",
                "event.data.m",
                "this.p.sum()",
                "this.absent.n",
            ],
            Text => &[
                "this.s",
                "this.u",
                "'ab'",
                "'b'",
                "''",
                "'\u{e9}'",
                "this.o.s",
                "this.o.o.s",
                "this.free.s",
                "event.id",
                "this['s']",
                "record.stream",
                "record.explicitHashKey",
            ],
            Time => &[
                "now",
                "timestamp(this.t)",
                "timestamp(event.at)",
                "record.arrivedAt",
                "timestamp('2026-11-22T10:00:00Z')",
                "timestamp(this.s)",
                "timestamp(this.absent)",
            ],
            Span => &["duration('5m')", "duration('-1.5s')", "duration('2562047h')", "(now - timestamp(this.t))"],
            Any => &[
                "this.i",
                "this.n",
                "this.s",
                "this.b",
                "this.z",
                "null",
                "1",
                "1.0",
                "'ab'",
                "this.o",
                "this.l",
                "this.mixed",
                "this",
                "event.data.u",
                "now",
            ],
        };
        self.pick(choices)
    }
}
