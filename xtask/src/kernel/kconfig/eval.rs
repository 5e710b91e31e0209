//! Computes the values of options by the rules of the kernel's scripts/kconfig, each only when it is asked for.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Condition, Definition, Expr, Id, Relation, SymbolKind, Tree};
use crate::kernel::config::{ConfigKind, KernelConfig};

/// n, m or y: how far an option is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tri {
    No,
    Module,
    Yes,
}

impl Tri {
    pub fn as_str(self) -> &'static str {
        match self {
            Tri::No => "n",
            Tri::Module => "m",
            Tri::Yes => "y",
        }
    }

    fn of(text: &str) -> Self {
        match text {
            "y" => Tri::Yes,
            "m" => Tri::Module,
            _ => Tri::No,
        }
    }

    fn not(self) -> Self {
        match self {
            Tri::No => Tri::Yes,
            Tri::Module => Tri::Module,
            Tri::Yes => Tri::No,
        }
    }
}

/// What a person has set, and what is known of the compiler.
pub struct Given<'a> {
    pub config: &'a KernelConfig,
    pub compiler: &'a BTreeMap<crate::data::kernel::Symbol, String>,
}

/// A tree with a configuration: computes values.
pub struct Eval<'a> {
    pub tree: &'a Tree,
    given: &'a Given<'a>,
    /// Lines that come after those of the configuration.
    changes: &'a BTreeMap<Id, Tri>,
    values: RefCell<Vec<Option<Value>>>,
    chosen: RefCell<Vec<Option<Option<Id>>>>,
    /// Macros that were taken for true.
    assumed: RefCell<BTreeSet<String>>,
}

#[derive(Debug, Clone)]
struct Value {
    tri: Tri,
    text: String,
}

impl Value {
    fn tri(tri: Tri) -> Self {
        Self { tri, text: tri.as_str().to_owned() }
    }
}

impl<'a> Eval<'a> {
    pub fn new(tree: &'a Tree, given: &'a Given<'a>, changes: &'a BTreeMap<Id, Tri>) -> Self {
        Self {
            tree,
            given,
            changes,
            values: RefCell::new(vec![None; tree.symbols.len()]),
            chosen: RefCell::new(vec![None; tree.choices.len()]),
            assumed: RefCell::default(),
        }
    }

    /// How far the option is on.
    pub fn symbol(&self, id: Id) -> Tri {
        self.value(id).tri
    }

    /// Its value as text, also of a number.
    pub fn text(&self, id: Id) -> String {
        self.value(id).text
    }

    /// Questions to the compiler that were taken for answered with yes.
    pub fn assumed(&self) -> Vec<String> {
        self.assumed.borrow().iter().cloned().collect()
    }

    /// The value of an expression.
    pub fn expr(&self, expr: &Expr) -> Tri {
        match expr {
            Expr::Symbol(id) => self.symbol(*id),
            // A lone `m` in a condition stands for `m && MODULES`.
            Expr::Constant(text) => Tri::of(text).min(if text == "m" { self.modules() } else { Tri::Yes }),
            Expr::Macro(text) => {
                self.assumed.borrow_mut().insert(text.clone());
                Tri::Yes
            }
            Expr::Choice(index) => self.choice(*index),
            Expr::Not(inner) => self.expr(inner).not(),
            Expr::And(parts) => self.fold(parts, Tri::Yes, Tri::min, Tri::No),
            Expr::Or(parts) => self.fold(parts, Tri::No, Tri::max, Tri::Yes),
            Expr::Compare(left, relation, right) => {
                if self.holds(left, *relation, right) {
                    Tri::Yes
                } else {
                    Tri::No
                }
            }
        }
    }

    /// Folds the parts, and stops at the value that decides.
    fn fold(&self, parts: &[Expr], start: Tri, join: fn(Tri, Tri) -> Tri, end: Tri) -> Tri {
        let mut value = start;
        for part in parts {
            value = join(value, self.expr(part));
            if value == end {
                break;
            }
        }
        value
    }

    pub fn all(&self, conditions: &[Condition]) -> Tri {
        let mut value = Tri::Yes;
        for condition in conditions {
            value = value.min(self.expr(&condition.expr));
            if value == Tri::No {
                break;
            }
        }
        value
    }

    fn holds(&self, left: &Expr, relation: Relation, right: &Expr) -> bool {
        let (left, right) = (self.operand(left), self.operand(right));
        let order = match (number(&left), number(&right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => left.cmp(&right),
        };
        match relation {
            Relation::Equal => order == Ordering::Equal,
            Relation::NotEqual => order != Ordering::Equal,
            Relation::Less => order == Ordering::Less,
            Relation::LessOrEqual => order != Ordering::Greater,
            Relation::Greater => order == Ordering::Greater,
            Relation::GreaterOrEqual => order != Ordering::Less,
        }
    }

    fn operand(&self, expr: &Expr) -> String {
        match expr {
            // A name that nobody defines stands for itself.
            Expr::Symbol(id) if self.tree.symbols[*id].definitions.is_empty() => self.tree.symbols[*id].name.clone(),
            Expr::Symbol(id) => self.text(*id),
            Expr::Constant(text) => text.clone(),
            other => self.expr(other).as_str().to_owned(),
        }
    }

    fn modules(&self) -> Tri {
        self.tree.modules.map_or(Tri::No, |id| self.symbol(id))
    }

    fn value(&self, id: Id) -> Value {
        if let Some(value) = &self.values.borrow()[id] {
            return value.clone();
        }
        // Whoever asks again while it is computed gets n, as in the kernel's own tool.
        self.values.borrow_mut()[id] = Some(Value::tri(Tri::No));
        let value = self.compute(id);
        self.values.borrow_mut()[id] = Some(value.clone());
        value
    }

    fn compute(&self, id: Id) -> Value {
        let symbol = &self.tree.symbols[id];
        if let Some(known) = self.compiler(id) {
            return known;
        }
        match symbol.kind {
            SymbolKind::Unknown => Value::tri(Tri::No),
            SymbolKind::Text => self.compute_text(id),
            SymbolKind::Bool | SymbolKind::Tristate => Value::tri(self.compute_tri(id)),
        }
    }

    /// The value of an option that only the compiler decides: what the configuration found it to be.
    fn compiler(&self, id: Id) -> Option<Value> {
        let symbol = &self.tree.symbols[id];
        let full = self.given.config.kind == ConfigKind::Full;
        let said = self.given.config.value(&symbol.name).map(|value| value.trim_matches('"').to_owned());
        let listed = self.given.compiler.get(symbol.name.as_str()).filter(|_| !full).cloned();
        let asks = |definition: &Definition| {
            definition.defaults.iter().any(|(value, when)| has_macro(value) || has_macro(when))
        };
        let decides = |definition: &Definition| definition.prompt.is_none() && asks(definition);
        if listed.is_some() || symbol.definitions.iter().any(decides) {
            if let Some(text) = said.or(listed) {
                return Some(Value { tri: Tri::of(&text), text });
            }
            return (full && symbol.kind != SymbolKind::Text).then(|| Value::tri(Tri::No));
        }
        // A full configuration does not even mention what the compiler is not able to do.
        let depends = |definition: &Definition| definition.depends.iter().any(|condition| has_macro(&condition.expr));
        let unable =
            full && said.is_none() && !self.changes.contains_key(&id) && symbol.definitions.iter().any(depends);
        unable.then(|| Value::tri(Tri::No))
    }

    fn compute_text(&self, id: Id) -> Value {
        let default = || self.default(id).map(|value| self.operand(value));
        let text = self.given_text(id).or_else(default).unwrap_or_default();
        Value { tri: Tri::No, text }
    }

    /// The text or number that the configuration gives it, if it can.
    pub fn given_text(&self, id: Id) -> Option<String> {
        let said = self.given.config.value(&self.tree.symbols[id].name).filter(|_| self.visible(id) != Tri::No);
        said.map(|text| text.trim_matches('"').to_owned())
    }

    fn compute_tri(&self, id: Id) -> Tri {
        let symbol = &self.tree.symbols[id];
        let visible = self.visible(id);
        let mut value = Tri::No;
        if symbol.choice.is_some() && visible == Tri::Yes {
            let chosen = symbol.choice.and_then(|choice| self.chosen(choice));
            value = if chosen == Some(id) { Tri::Yes } else { Tri::No };
        } else if let Some(said) = self.said(id).filter(|_| visible != Tri::No) {
            value = said.min(visible);
        } else if symbol.choice.is_none() {
            value = self.default_tri(id);
            let implied = self.forced(&symbol.implied_by);
            if implied != Tri::No {
                value = value.max(implied).min(self.dependency(id));
            }
        }
        self.widen(id, value.max(self.forced(&symbol.selected_by)))
    }

    /// A bool cannot be m, nor can anything where there are no modules.
    fn widen(&self, id: Id, value: Tri) -> Tri {
        let tristate = self.tree.symbols[id].kind == SymbolKind::Tristate
            && (self.tree.modules == Some(id) || self.modules() != Tri::No);
        if value == Tri::Module && !tristate { Tri::Yes } else { value }
    }

    /// What the configuration and the changes say, if they say something.
    pub fn said(&self, id: Id) -> Option<Tri> {
        let said = || match self.given.config.value(&self.tree.symbols[id].name) {
            Some("y") => Some(Tri::Yes),
            Some("m") => Some(Tri::Module),
            Some("n") => Some(Tri::No),
            _ => None,
        };
        self.changes.get(&id).copied().or_else(said)
    }

    /// How far a person can set it: the most that any of its prompts allows.
    pub fn visible(&self, id: Id) -> Tri {
        let symbol = &self.tree.symbols[id];
        let mut visible = Tri::No;
        for definition in &symbol.definitions {
            if let Some(prompt) = &definition.prompt {
                visible = visible.max(self.all(&definition.depends).min(self.all(&prompt.conditions)));
            }
        }
        self.widen(id, visible)
    }

    /// What its dependencies allow.
    pub fn dependency(&self, id: Id) -> Tri {
        let definitions = self.tree.symbols[id].definitions.iter();
        let most = definitions.map(|definition| self.all(&definition.depends)).max().unwrap_or(Tri::No);
        self.widen(id, most)
    }

    /// The most that others force on it.
    pub fn forced(&self, forces: &[super::tree::Force]) -> Tri {
        let mut most = Tri::No;
        for force in forces {
            most = most.max(self.force(force));
            if most == Tri::Yes {
                break;
            }
        }
        most
    }

    pub fn force(&self, force: &super::tree::Force) -> Tri {
        match self.symbol(force.by) {
            Tri::No => Tri::No,
            on => on.min(self.expr(&force.condition)),
        }
    }

    /// The first default whose condition holds.
    fn default(&self, id: Id) -> Option<&'a Expr> {
        self.default_with(id).map(|(value, _)| value)
    }

    fn default_with(&self, id: Id) -> Option<(&'a Expr, Tri)> {
        for definition in &self.tree.symbols[id].definitions {
            let mut depends = None;
            for (value, when) in &definition.defaults {
                let depends = *depends.get_or_insert_with(|| self.all(&definition.depends));
                let when = depends.min(if depends == Tri::No { Tri::No } else { self.expr(when) });
                if when != Tri::No {
                    return Some((value, when));
                }
            }
        }
        None
    }

    fn default_tri(&self, id: Id) -> Tri {
        self.default_with(id).map_or(Tri::No, |(value, when)| self.expr(value).min(when))
    }

    /// Whether a choice is made at all: y, or m where several may be m.
    pub fn choice(&self, index: usize) -> Tri {
        let choice = &self.tree.choices[index];
        let visible = self.all(&choice.visible);
        let picked = choice.members.iter().any(|member| self.said(*member) == Some(Tri::Yes));
        match (visible, choice.tristate && self.modules() != Tri::No) {
            (Tri::No, _) => Tri::No,
            (_, _) if choice.optional && !picked => Tri::No,
            (_, false) => Tri::Yes,
            (visible, true) => {
                if picked {
                    visible
                } else {
                    Tri::Module
                }
            }
        }
    }

    /// The member of a choice that is on.
    fn chosen(&self, index: usize) -> Option<Id> {
        if let Some(chosen) = self.chosen.borrow()[index] {
            return chosen;
        }
        let choice = &self.tree.choices[index];
        let usable = |id: &Id| self.visible(*id) != Tri::No;
        let picked = |later: bool| {
            let said = |id: &&Id| self.said(**id) == Some(Tri::Yes) && self.changes.contains_key(*id) == later;
            choice.members.iter().filter(said).find(|id| usable(id)).copied()
        };
        let default = || {
            let defaults = choice.defaults.iter().filter(|(_, when)| self.expr(when) != Tri::No);
            defaults.map(|(id, _)| *id).find(usable)
        };
        let first = || choice.members.iter().copied().find(usable);
        let chosen = picked(true).or_else(|| picked(false)).or_else(default).or_else(first);
        self.chosen.borrow_mut()[index] = Some(chosen);
        chosen
    }
}

/// Whether the answer depends on the compiler.
fn has_macro(expr: &Expr) -> bool {
    match expr {
        Expr::Macro(_) => true,
        Expr::Not(inner) => has_macro(inner),
        Expr::And(parts) | Expr::Or(parts) => parts.iter().any(has_macro),
        Expr::Compare(left, _, right) => has_macro(left) || has_macro(right),
        Expr::Symbol(_) | Expr::Constant(_) | Expr::Choice(_) => false,
    }
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
