//! Says why an option has the value it has, and finds lines that turn it on.
//!
//! Lines are found by walking the dependencies backwards, and believed only after [`Eval`] has computed that with them
//! the option is on; each line is then left out once to see that it is needed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::eval::{Eval, Given, Tri};
use super::tree::{Condition, Expr, Force, From, Id, Relation, SymbolKind, Tree};

/// How many ways are kept at each branching: the shortest ones.
const KEPT: usize = 6;

/// Dependencies are told this deep.
const DEPTH: usize = 12;

/// Lines for a configuration: the option → the value it must get.
pub type Change = BTreeMap<Id, Tri>;

/// The answer for one option.
#[derive(Debug)]
pub struct Explanation {
    pub name: String,
    pub value: Tri,
    /// The value of a text or number; None for what can be on or off.
    pub text: Option<String>,
    /// Each place that defines it: `net/Kconfig:12`, and its prompt.
    pub places: Vec<(String, Option<String>)>,
    /// Why it has this value, the first cause first; deeper causes are indented.
    pub chain: Vec<Cause>,
    /// The fewest lines that were found to turn it on; none needed if it is, none found if there is no way.
    pub change: Option<Vec<(String, Tri)>>,
    /// Nobody can set it: it has no prompt.
    pub promptless: bool,
    /// Who could switch it on.
    pub selected_by: Vec<String>,
    /// Questions to the compiler that were taken for answered with yes.
    pub assumed: Vec<String>,
}

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub depth: usize,
    pub text: String,
}

/// Explains the option `id`, and what would make it `y`.
pub fn explain(tree: &Tree, given: &Given<'_>, id: Id) -> Explanation {
    super::tree::with_stack(|| {
        let none = Change::new();
        let eval = Eval::new(tree, given, &none);
        let value = eval.symbol(id);
        let symbol = &tree.symbols[id];
        let mut story = Story { eval: &eval, told: BTreeSet::new(), chain: Vec::new() };
        match value {
            Tri::Yes => story.why_on(id),
            _ => story.why_off(id, 0),
        }
        let chain = story.chain;
        let solver = Solver { eval: &eval, ways: RefCell::default(), busy: RefCell::default() };
        let text = (symbol.kind == SymbolKind::Text).then(|| eval.text(id));
        let change = match value {
            Tri::Yes => Some(Change::new()),
            _ if text.is_some() => None,
            _ => solver.best(tree, given, id),
        };
        let places = symbol.definitions.iter().map(|definition| {
            let prompt = definition.prompt.as_ref().map(|prompt| prompt.text.clone());
            (format!("{}:{}", definition.file, definition.line), prompt)
        });
        Explanation {
            name: symbol.name.clone(),
            value,
            text,
            places: places.collect(),
            chain,
            change: change.map(|change| ordered(tree, &change, id)),
            promptless: symbol.definitions.iter().all(|definition| definition.prompt.is_none()),
            selected_by: symbol.selected_by.iter().map(|force| tree.symbols[force.by].name.clone()).collect(),
            assumed: eval.assumed(),
        }
    })
}

/// The change as lines, the option that was asked for last.
fn ordered(tree: &Tree, change: &Change, last: Id) -> Vec<(String, Tri)> {
    let line = |(id, value): (&Id, &Tri)| (tree.symbols[*id].name.clone(), *value);
    let others = change.iter().filter(|(id, _)| **id != last).map(line);
    others.chain(change.get_key_value(&last).map(line)).collect()
}

/// Tells why.
struct Story<'a, 'b> {
    eval: &'b Eval<'a>,
    told: BTreeSet<Id>,
    chain: Vec<Cause>,
}

impl Story<'_, '_> {
    fn say(&mut self, depth: usize, text: impl Into<String>) {
        self.chain.push(Cause { depth, text: text.into() });
    }

    fn name(&self, id: Id) -> &str {
        &self.eval.tree.symbols[id].name
    }

    fn why_on(&mut self, id: Id) {
        let symbol = &self.eval.tree.symbols[id];
        let on: Vec<&Force> = symbol.selected_by.iter().filter(|force| self.eval.force(force) != Tri::No).collect();
        for force in on.iter().take(3) {
            self.say(0, format!("{} selects it", self.name(force.by)));
        }
        if on.len() > 3 {
            self.say(0, format!("and {} others select it", on.len() - 3));
        }
        match self.eval.said(id) {
            Some(Tri::No) | None if on.is_empty() => self.say(0, "it is on by default"),
            Some(_) if self.eval.visible(id) != Tri::No => self.say(0, "the configuration sets it"),
            _ => {}
        }
    }

    fn why_off(&mut self, id: Id, depth: usize) {
        let eval = self.eval;
        let symbol = &eval.tree.symbols[id];
        if symbol.definitions.is_empty() {
            return self.say(depth, format!("no Kconfig file defines {} for this architecture", symbol.name));
        }
        if depth >= DEPTH || !self.told.insert(id) {
            return;
        }
        let several = symbol.definitions.len() > 1;
        let mut blamed = false;
        for definition in &symbol.definitions {
            if several {
                self.say(depth, format!("as {}:{} defines it:", definition.file, definition.line));
            }
            let depth = depth + usize::from(several);
            let conditions = definition.prompt.iter().flat_map(|prompt| &prompt.conditions);
            let all = definition.depends.iter().map(|condition| (condition, false));
            for (condition, of_prompt) in all.chain(conditions.map(|condition| (condition, true))) {
                if eval.expr(&condition.expr) != Tri::Yes {
                    blamed = true;
                    self.blame(condition, of_prompt, depth);
                }
            }
        }
        if !blamed {
            self.nothing_forbids(id, depth);
        }
    }

    /// Its dependencies hold, and yet it is off.
    fn nothing_forbids(&mut self, id: Id, depth: usize) {
        let symbol = &self.eval.tree.symbols[id];
        let promptless = symbol.definitions.iter().all(|definition| definition.prompt.is_none());
        let text = if symbol.kind == SymbolKind::Text {
            let set = self.eval.given_text(id).is_some();
            if set { "the configuration sets it" } else { "the configuration does not set it: it has its default" }
                .to_owned()
        } else if promptless && symbol.selected_by.is_empty() {
            "it has no prompt: its default decides, a line in a configuration does nothing".to_owned()
        } else if promptless {
            let by = symbol.selected_by.iter().map(|force| self.name(force.by));
            format!("it has no prompt: only what selects it turns it on: {}", shortened(by))
        } else if let Some(choice) = symbol.choice {
            format!("the choice \"{}\" has another option on", self.eval.tree.choices[choice].title)
        } else {
            match self.eval.said(id) {
                Some(Tri::No) => "nothing forbids it: the configuration says that it is not set".to_owned(),
                Some(Tri::Module) => "nothing forbids it: the configuration makes it a module".to_owned(),
                _ => "nothing forbids it: the configuration does not set it, and it is off by default".to_owned(),
            }
        };
        self.say(depth, text);
    }

    fn blame(&mut self, condition: &Condition, of_prompt: bool, depth: usize) {
        if depth > 0 && !self.is_news(&condition.expr) {
            return;
        }
        let expr = self.eval.tree.show(&condition.expr);
        let value = self.eval.expr(&condition.expr);
        let (state, limit) = match value {
            Tri::Module => ("m", ", so that it can be m at most"),
            _ => ("n", ""),
        };
        let text = match &condition.from {
            From::Itself => format!("depends on {expr}, which is {state}{limit}"),
            From::Prompt => format!("its prompt needs {expr}, which is {state}{limit}"),
            From::Menu(title) if of_prompt => {
                format!("the menu \"{title}\" is shown only if {expr}, which is {state}{limit}")
            }
            From::Menu(title) => format!("the menu \"{title}\" depends on {expr}, which is {state}{limit}"),
            From::If => format!("stands in `if {expr}`, which is {state}{limit}"),
            From::Choice(title) => format!("is one of the choice \"{title}\", which is {state}{limit}"),
        };
        self.say(depth, text);
        self.causes(&condition.expr, depth + 1);
    }

    /// Whether there is something to say about the expression that was not said further up.
    fn is_news(&self, expr: &Expr) -> bool {
        match expr {
            _ if self.eval.expr(expr) == Tri::Yes => false,
            Expr::Symbol(id) => !self.told.contains(id),
            Expr::And(parts) | Expr::Or(parts) => parts.iter().any(|part| self.is_news(part)),
            _ => true,
        }
    }

    /// The options that make the expression less than y.
    fn causes(&mut self, expr: &Expr, depth: usize) {
        let eval = self.eval;
        if eval.expr(expr) == Tri::Yes {
            return;
        }
        match expr {
            Expr::Symbol(id) => {
                if !self.told.contains(id) {
                    let place = match eval.tree.symbols[*id].definitions.first() {
                        Some(definition) => format!("  ({}:{})", definition.file, definition.line),
                        None => String::new(),
                    };
                    self.say(depth, format!("{} is {}{place}", self.name(*id), eval.symbol(*id).as_str()));
                    self.why_off(*id, depth + 1);
                }
            }
            Expr::And(parts) => parts.iter().for_each(|part| self.causes(part, depth)),
            Expr::Or(parts) => {
                self.say(depth, "one of these would do:");
                parts.iter().for_each(|part| self.causes(part, depth + 1));
            }
            Expr::Not(inner) => {
                let text = format!("{} is {}, and must be off", eval.tree.show(inner), eval.expr(inner).as_str());
                self.say(depth, text);
            }
            Expr::Choice(index) => {
                for condition in &eval.tree.choices[*index].visible {
                    if eval.expr(&condition.expr) != Tri::Yes {
                        self.blame(condition, false, depth);
                    }
                }
            }
            Expr::Constant(_) | Expr::Macro(_) | Expr::Compare(..) => {}
        }
    }
}

/// The names, or the first eight of them.
pub fn shortened<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0..=8 => names.join(", "),
        count => format!("{} and {} others", names[..8].join(", "), count - 8),
    }
}

/// Finds changes.
struct Solver<'a, 'b> {
    eval: &'b Eval<'a>,
    /// What was found for an option to become y (true) or n (false).
    ways: RefCell<HashMap<(Id, bool), Vec<Change>>>,
    /// Options on the way here: a circle leads nowhere.
    busy: RefCell<BTreeSet<(Id, bool)>>,
}

impl Solver<'_, '_> {
    /// The shortest change that really makes the option y.
    fn best(&self, tree: &Tree, given: &Given<'_>, id: Id) -> Option<Change> {
        let works = |change: &Change| Eval::new(tree, given, change).symbol(id) == Tri::Yes;
        let mut found: Vec<Change> = Vec::new();
        for change in self.raise_symbol(id) {
            if works(&change) {
                found.push(shrink(change, &works));
            }
        }
        found.into_iter().min_by_key(cost)
    }

    /// The ways to make the expression y.
    fn raise(&self, expr: &Expr) -> Vec<Change> {
        if self.eval.expr(expr) == Tri::Yes {
            return vec![Change::new()];
        }
        match expr {
            Expr::Symbol(id) => self.raise_symbol(*id),
            Expr::Not(inner) => self.lower(inner),
            Expr::And(parts) => product(parts.iter().map(|part| self.raise(part))),
            Expr::Or(parts) => shortest(parts.iter().flat_map(|part| self.raise(part)).collect()),
            Expr::Choice(index) => self.raise_all(&self.eval.tree.choices[*index].visible),
            Expr::Compare(left, relation, right) => self.compare(left, *relation, right),
            Expr::Constant(_) | Expr::Macro(_) => Vec::new(),
        }
    }

    fn raise_all(&self, conditions: &[Condition]) -> Vec<Change> {
        product(conditions.iter().map(|condition| self.raise(&condition.expr)))
    }

    /// The ways to make the expression n.
    fn lower(&self, expr: &Expr) -> Vec<Change> {
        if self.eval.expr(expr) == Tri::No {
            return vec![Change::new()];
        }
        match expr {
            Expr::Symbol(id) => self.lower_symbol(*id),
            Expr::Not(inner) => self.raise(inner),
            Expr::And(parts) => shortest(parts.iter().flat_map(|part| self.lower(part)).collect()),
            Expr::Or(parts) => product(parts.iter().map(|part| self.lower(part))),
            Expr::Compare(left, Relation::Equal, right) => self.compare(left, Relation::NotEqual, right),
            Expr::Compare(left, Relation::NotEqual, right) => self.compare(left, Relation::Equal, right),
            Expr::Compare(..) | Expr::Choice(_) | Expr::Constant(_) | Expr::Macro(_) => Vec::new(),
        }
    }

    /// `A = y`, `A != n` and their like. Numbers are not solved for.
    fn compare(&self, left: &Expr, relation: Relation, right: &Expr) -> Vec<Change> {
        let (symbol, constant) = match (left, right) {
            (Expr::Symbol(id), Expr::Constant(text)) | (Expr::Constant(text), Expr::Symbol(id)) => (*id, text.as_str()),
            _ => return Vec::new(),
        };
        match (relation, constant) {
            (Relation::Equal, "y") | (Relation::NotEqual, "n" | "m") => self.raise_symbol(symbol),
            (Relation::Equal, "n") | (Relation::NotEqual, "y") => self.lower_symbol(symbol),
            _ => Vec::new(),
        }
    }

    fn raise_symbol(&self, id: Id) -> Vec<Change> {
        if self.eval.symbol(id) == Tri::Yes {
            return vec![Change::new()];
        }
        self.once((id, true), || self.find_raise(id))
    }

    fn find_raise(&self, id: Id) -> Vec<Change> {
        let symbol = &self.eval.tree.symbols[id];
        let mut ways = Vec::new();
        for definition in &symbol.definitions {
            let Some(prompt) = &definition.prompt else { continue };
            let conditions = [self.raise_all(&definition.depends), self.raise_all(&prompt.conditions)];
            ways.extend(product(conditions.into_iter().chain([vec![Change::from([(id, Tri::Yes)])]])));
        }
        for definition in &symbol.definitions {
            for (value, when) in &definition.defaults {
                let parts = [self.raise_all(&definition.depends), self.raise(when), self.raise(value)];
                ways.extend(product(parts.into_iter()));
            }
        }
        // Through another option only where nothing more direct is found: few people want those.
        if ways.is_empty() {
            for force in symbol.selected_by.iter().chain(&symbol.implied_by) {
                ways.extend(product([self.raise_symbol(force.by), self.raise(&force.condition)].into_iter()));
            }
        }
        shortest(ways)
    }

    fn lower_symbol(&self, id: Id) -> Vec<Change> {
        if self.eval.symbol(id) == Tri::No {
            return vec![Change::new()];
        }
        self.once((id, false), || self.find_lower(id))
    }

    fn find_lower(&self, id: Id) -> Vec<Change> {
        let symbol = &self.eval.tree.symbols[id];
        let forced = symbol.selected_by.iter().filter(|force| self.eval.force(force) != Tri::No);
        let free =
            product(forced.map(|force| shortest([self.lower_symbol(force.by), self.lower(&force.condition)].concat())));
        let own = match symbol.choice {
            Some(choice) => {
                let others = self.eval.tree.choices[choice].members.iter().filter(|member| **member != id);
                others
                    .filter(|member| self.eval.visible(**member) != Tri::No)
                    .map(|member| Change::from([(*member, Tri::Yes)]))
                    .collect()
            }
            None if self.eval.visible(id) != Tri::No => vec![Change::from([(id, Tri::No)])],
            None => {
                let depends = symbol.definitions.iter().map(|definition| self.lower(&definition.dependency()));
                let defaults = symbol.definitions.iter().map(|definition| {
                    product(
                        definition
                            .defaults
                            .iter()
                            .map(|(value, when)| self.lower(&Expr::And(vec![when.clone(), value.clone()]))),
                    )
                });
                [product(depends), product(defaults)].concat()
            }
        };
        product([free, shortest(own)].into_iter())
    }

    /// Each option is looked into once; one that is being looked into is no way.
    fn once(&self, key: (Id, bool), find: impl FnOnce() -> Vec<Change>) -> Vec<Change> {
        if let Some(ways) = self.ways.borrow().get(&key) {
            return ways.clone();
        }
        if !self.busy.borrow_mut().insert(key) {
            return Vec::new();
        }
        let ways = find();
        self.busy.borrow_mut().remove(&key);
        self.ways.borrow_mut().insert(key, ways.clone());
        ways
    }
}

/// Leaves out every line that is not needed.
fn shrink(mut change: Change, works: &impl Fn(&Change) -> bool) -> Change {
    for id in change.keys().copied().collect::<Vec<_>>() {
        let mut less = change.clone();
        less.remove(&id);
        if works(&less) {
            change = less;
        }
    }
    change
}

/// All ways to have every part at once, the shortest of them.
fn product(parts: impl Iterator<Item = Vec<Change>>) -> Vec<Change> {
    let mut ways = vec![Change::new()];
    for part in parts {
        let mut next = Vec::new();
        for way in &ways {
            next.extend(part.iter().filter_map(|more| union(way, more)));
        }
        ways = shortest(next);
        if ways.is_empty() {
            break;
        }
    }
    ways
}

/// Both changes together, unless they contradict each other.
fn union(one: &Change, other: &Change) -> Option<Change> {
    let mut both = one.clone();
    for (id, value) in other {
        if both.insert(*id, *value).is_some_and(|before| before != *value) {
            return None;
        }
    }
    Some(both)
}

/// Few lines first; of as many, those that take nothing away.
fn cost(change: &Change) -> (usize, usize) {
    (change.len(), change.values().filter(|value| **value == Tri::No).count())
}

fn shortest(mut ways: Vec<Change>) -> Vec<Change> {
    ways.sort_by(|one, other| cost(one).cmp(&cost(other)).then_with(|| one.cmp(other)));
    ways.dedup();
    ways.truncate(KEPT);
    ways
}
