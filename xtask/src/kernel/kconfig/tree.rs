//! Reads a kernel's Kconfig files into one flat list of options.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use fs_err as fs;
use nom_kconfig::attribute::expression::{CompareOperand, CompareOperator};
use nom_kconfig::attribute::{AndExpression, OrExpression};
use nom_kconfig::attribute::{Atom, Attribute, OptionValues, Term, r#type::Type};
use nom_kconfig::entry::Entry;
use nom_kconfig::symbol::{ConstantSymbol, Symbol as Word};
use nom_kconfig::tristate::Tristate;
use nom_kconfig::{KconfigFile, KconfigInput, parse_kconfig};

use crate::error::{Failure, Kind, Result};

/// Kconfig files that are nested deeper than this go round in a circle.
const DEEPEST: usize = 64;

/// The stack that the parser and the evaluation get: both go as deep as the files are nested.
const STACK: usize = 256 << 20;

/// All options of a kernel for one architecture.
#[derive(Debug, Default)]
pub struct Tree {
    pub symbols: Vec<Symbol>,
    pub choices: Vec<Choice>,
    /// The option that says whether there are modules.
    pub modules: Option<Id>,
    names: HashMap<String, Id>,
}

/// A symbol's place in [`Tree::symbols`].
pub type Id = usize;

/// One option.
#[derive(Debug, Default)]
pub struct Symbol {
    pub name: String,
    pub kind: SymbolKind,
    /// None for a name that is only used: its value is n.
    pub definitions: Vec<Definition>,
    pub selected_by: Vec<Force>,
    pub implied_by: Vec<Force>,
    /// The choice that it is one of.
    pub choice: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SymbolKind {
    #[default]
    Unknown,
    Bool,
    Tristate,
    /// A text or a number.
    Text,
}

/// One place where an option is defined.
#[derive(Debug)]
pub struct Definition {
    pub file: String,
    pub line: usize,
    pub prompt: Option<Prompt>,
    /// All of these must hold.
    pub depends: Vec<Condition>,
    pub defaults: Vec<(Expr, Expr)>,
}

impl Definition {
    pub fn dependency(&self) -> Expr {
        Expr::And(self.depends.iter().map(|condition| condition.expr.clone()).collect())
    }
}

/// The question that a person can answer.
#[derive(Debug, Clone)]
pub struct Prompt {
    pub text: String,
    /// What must hold, beside the dependencies, for it to be asked.
    pub conditions: Vec<Condition>,
}

/// A dependency, and where it comes from.
#[derive(Debug, Clone)]
pub struct Condition {
    pub expr: Expr,
    pub from: From,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// Its own `depends on`.
    Itself,
    /// Its own prompt's `if`.
    Prompt,
    /// A menu around it.
    Menu(String),
    /// An `if` around it.
    If,
    /// The choice that it is part of.
    Choice(String),
}

/// Another option that switches this one on.
#[derive(Debug)]
pub struct Force {
    pub by: Id,
    pub condition: Expr,
}

/// Options of which exactly one is on.
#[derive(Debug, Default)]
pub struct Choice {
    pub title: String,
    pub tristate: bool,
    pub optional: bool,
    pub visible: Vec<Condition>,
    pub defaults: Vec<(Id, Expr)>,
    pub members: Vec<Id>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    Symbol(Id),
    /// `y`, `m`, `n`, a number, or a text.
    Constant(String),
    /// What only the compiler and the build machine can answer: `$(cc-option,-Wall)`.
    Macro(String),
    Choice(usize),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Compare(Box<Expr>, Relation, Box<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Tree {
    /// Reads the Kconfig files of the kernel in `root` for an architecture as the kernel calls it: `arm64`.
    pub fn read(root: &Path, arch: &str) -> Result<Self> {
        if !root.join("Kconfig").is_file() {
            let what = format!("{} has no Kconfig: it is not the source of a kernel", root.display());
            return Err(Failure::new(Kind::Data, what)
                .next("give the unpacked source's top folder to --source")
                .into());
        }
        if !root.join("arch").join(arch).join("Kconfig").is_file() {
            let what = format!("{} has no arch/{arch}/Kconfig", root.display());
            return Err(Failure::new(Kind::Data, what)
                .next("name the architecture as the folders of arch/: --arch arm64")
                .into());
        }
        with_stack(|| {
            let mut scan = Scan { root, arch, lines: HashMap::new() };
            scan.file("Kconfig", &mut Vec::new())?;
            let entries = parse(root, arch)?;
            let mut builder = Builder { tree: Tree::default(), lines: scan.lines };
            builder.entries(&entries, "Kconfig", &Around::default(), None);
            Ok(builder.tree)
        })
    }

    pub fn find(&self, name: &str) -> Option<Id> {
        self.names.get(name).copied().filter(|id| !self.symbols[*id].definitions.is_empty())
    }

    /// The names of all options that are defined.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.symbols.iter().filter(|symbol| !symbol.definitions.is_empty()).map(|symbol| symbol.name.as_str())
    }

    /// The expression as a Kconfig file would have it.
    pub fn show(&self, expr: &Expr) -> String {
        let list = |list: &[Expr], word: &str| {
            let parts = list.iter().map(|part| match part {
                Expr::And(inner) | Expr::Or(inner) if inner.len() > 1 => format!("({})", self.show(part)),
                _ => self.show(part),
            });
            parts.collect::<Vec<_>>().join(word)
        };
        match expr {
            Expr::Symbol(id) => self.symbols[*id].name.clone(),
            Expr::Constant(text) => text.clone(),
            Expr::Macro(text) => text.clone(),
            Expr::Choice(index) => format!("the choice \"{}\"", self.choices[*index].title),
            Expr::Not(inner) => match **inner {
                Expr::And(_) | Expr::Or(_) | Expr::Compare(..) => format!("!({})", self.show(inner)),
                _ => format!("!{}", self.show(inner)),
            },
            Expr::And(parts) => list(parts, " && "),
            Expr::Or(parts) => list(parts, " || "),
            Expr::Compare(left, relation, right) => {
                let relation = match relation {
                    Relation::Equal => "=",
                    Relation::NotEqual => "!=",
                    Relation::Less => "<",
                    Relation::LessOrEqual => "<=",
                    Relation::Greater => ">",
                    Relation::GreaterOrEqual => ">=",
                };
                format!("{} {relation} {}", self.show(left), self.show(right))
            }
        }
    }
}

/// Runs `work` with a stack that is deep enough.
pub fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        match thread.expect("a thread can be started").join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn variables(arch: &str) -> HashMap<&str, &str> {
    HashMap::from([("SRCARCH", arch), ("ARCH", arch), ("srctree", "."), ("KERNELVERSION", "0")])
}

/// The parser tells little of what it stumbles over, and follows circles for ever: a look at the `source` lines first.
struct Scan<'a> {
    root: &'a Path,
    arch: &'a str,
    /// (file, option) → the lines that define it, last first.
    lines: HashMap<(String, String), Vec<usize>>,
}

impl Scan<'_> {
    fn file(&mut self, path: &str, above: &mut Vec<String>) -> Result<()> {
        let text = fs::read_to_string(self.root.join(path)).map_err(|error| {
            let by = above.last().map(|by| format!(", which {by} sources")).unwrap_or_default();
            Failure::new(Kind::Data, format!("cannot read {path}{by}: {error}"))
        })?;
        if above.len() >= DEEPEST {
            let what =
                format!("the Kconfig files source each other in a circle: {} …", above[DEEPEST - 4..].join(" → "));
            return Err(Failure::new(Kind::Data, what).into());
        }
        for (index, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("config" | "menuconfig"), Some(name), None) => {
                    self.lines.entry((path.to_owned(), name.to_owned())).or_default().insert(0, index + 1);
                }
                (Some("source"), Some(file), None) if file.starts_with('"') => {
                    let mut file = file.trim_matches('"').to_owned();
                    for (name, value) in variables(self.arch) {
                        file = file.replace(&format!("$({name})"), value).replace(&format!("${name}"), value);
                    }
                    above.push(format!("{path}:{}", index + 1));
                    self.file(&file, above)?;
                    above.pop();
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn parse(root: &Path, arch: &str) -> Result<Vec<Entry>> {
    let file = KconfigFile::new_with_vars(root.to_owned(), PathBuf::from("Kconfig"), &variables(arch), &HashMap::new());
    let text = file.read_to_string()?;
    match parse_kconfig(KconfigInput::new_extra(&text, file)) {
        Ok((rest, kconfig)) if rest.fragment().is_empty() => Ok(kconfig.entries),
        Ok((rest, _)) => {
            let line = rest.fragment().lines().next().unwrap_or_default();
            Err(Failure::new(Kind::Data, format!("cannot read Kconfig:{}: `{line}`", rest.location_line())).into())
        }
        Err(error) => {
            let line = error.input.lines().next().unwrap_or_default();
            let what = format!("cannot read {}:{}: `{line}`", error.filename.display(), error.line);
            Err(Failure::new(Kind::Data, what).into())
        }
    }
}

/// What surrounds an entry.
#[derive(Debug, Clone, Default)]
struct Around {
    depends: Vec<Condition>,
    /// `visible if` of the menus.
    visible: Vec<Condition>,
}

struct Builder {
    tree: Tree,
    lines: HashMap<(String, String), Vec<usize>>,
}

impl Builder {
    fn entries(&mut self, entries: &[Entry], file: &str, around: &Around, choice: Option<usize>) {
        for entry in entries {
            match entry {
                Entry::Config(config) | Entry::MenuConfig(config) => {
                    self.config(config.symbol.trim(), &config.attributes, file, around, choice);
                }
                Entry::Choice(inner) => self.choice(&inner.options, &inner.entries, file, around),
                Entry::Menu(menu) => {
                    let mut inner = around.clone();
                    for depends in &menu.depends_on {
                        let expr = self.conditional(&depends.expression, depends.r#if.as_ref());
                        inner.depends.push(Condition { expr, from: From::Menu(menu.prompt.clone()) });
                    }
                    if let Some(Some(visible)) = &menu.visible {
                        let expr = self.or(visible);
                        inner.visible.push(Condition { expr, from: From::Menu(menu.prompt.clone()) });
                    }
                    self.entries(&menu.entries, file, &inner, choice);
                }
                Entry::If(block) => {
                    let mut inner = around.clone();
                    inner.depends.push(Condition { expr: self.or(&block.condition), from: From::If });
                    self.entries(&block.entries, file, &inner, choice);
                }
                Entry::Source(source) => {
                    for kconfig in &source.kconfigs {
                        self.entries(&kconfig.entries, &kconfig.file, around, choice);
                    }
                }
                _ => {}
            }
        }
    }

    fn config(&mut self, name: &str, attributes: &[Attribute], file: &str, around: &Around, choice: Option<usize>) {
        let id = self.id(name);
        let line = self.lines.get_mut(&(file.to_owned(), name.to_owned())).and_then(Vec::pop).unwrap_or(0);
        let mut depends = around.depends.clone();
        depends.extend(self.own_depends(attributes));
        let dependency = Expr::And(depends.iter().map(|condition| condition.expr.clone()).collect());
        let mut prompt = None;
        let mut defaults = Vec::new();
        for attribute in attributes {
            match attribute {
                Attribute::Type(kind) => {
                    let condition = kind.r#if.as_ref().map(|condition| self.or(condition));
                    let (kind, text, default) = match &kind.r#type {
                        Type::Bool(text) => (SymbolKind::Bool, text.clone(), None),
                        Type::Tristate(text) => (SymbolKind::Tristate, text.clone(), None),
                        Type::String(text) | Type::Hex(text) | Type::Int(text) => {
                            (SymbolKind::Text, text.clone(), None)
                        }
                        Type::DefBool(value) => (SymbolKind::Bool, None, Some(value)),
                        Type::DefTristate(value) => (SymbolKind::Tristate, None, Some(value)),
                    };
                    self.tree.symbols[id].kind = kind;
                    if let Some(text) = text {
                        prompt = Some((text, condition.clone()));
                    }
                    if let Some(value) = default {
                        defaults.push((self.or(value), condition.unwrap_or_else(yes)));
                    }
                }
                Attribute::Prompt(text) => {
                    let condition = text.r#if.as_ref().map(|condition| self.or(condition));
                    prompt = Some((text.prompt.clone(), condition));
                }
                Attribute::Default(default) => {
                    let condition = default.r#if.as_ref().map_or_else(yes, |condition| self.or(condition));
                    defaults.push((self.or(&default.expression), condition));
                }
                Attribute::Select(select) => {
                    let condition = select.r#if.as_ref().map_or_else(yes, |condition| self.or(condition));
                    let target = self.id(select.symbol.trim());
                    let condition = Expr::And(vec![condition, dependency.clone()]);
                    self.tree.symbols[target].selected_by.push(Force { by: id, condition });
                }
                Attribute::Imply(imply) => {
                    let condition = imply.r#if.as_ref().map_or_else(yes, |condition| self.or(condition));
                    if let Word::NonConstant(name) = &imply.symbol {
                        let target = self.id(name);
                        let condition = Expr::And(vec![condition, dependency.clone()]);
                        self.tree.symbols[target].implied_by.push(Force { by: id, condition });
                    }
                }
                Attribute::Modules | Attribute::Option(OptionValues::Modules) => self.tree.modules = Some(id),
                _ => {}
            }
        }
        let prompt = prompt.map(|(text, condition)| {
            let own = condition.map(|expr| Condition { expr, from: From::Prompt });
            Prompt { text, conditions: around.visible.iter().cloned().chain(own).collect() }
        });
        if let Some(choice) = choice {
            self.tree.symbols[id].choice = Some(choice);
            self.tree.choices[choice].members.push(id);
        }
        let definition = Definition { file: file.to_owned(), line, prompt, depends, defaults };
        self.tree.symbols[id].definitions.push(definition);
    }

    fn choice(&mut self, attributes: &[Attribute], entries: &[Entry], file: &str, around: &Around) {
        let mut choice = Choice::default();
        choice.visible.extend(around.depends.iter().cloned());
        choice.visible.extend(around.visible.iter().cloned());
        choice.visible.extend(self.own_depends(attributes));
        for attribute in attributes {
            match attribute {
                Attribute::Prompt(prompt) => {
                    choice.title = prompt.prompt.clone();
                    if let Some(condition) = &prompt.r#if {
                        choice.visible.push(Condition { expr: self.or(condition), from: From::Prompt });
                    }
                }
                Attribute::Type(kind) => {
                    choice.tristate |= matches!(kind.r#type, Type::Tristate(_));
                    if let Type::Tristate(Some(text)) | Type::Bool(Some(text)) = &kind.r#type {
                        choice.title = text.clone();
                        if let Some(condition) = &kind.r#if {
                            choice.visible.push(Condition { expr: self.or(condition), from: From::Prompt });
                        }
                    }
                }
                Attribute::Optional => choice.optional = true,
                Attribute::Default(default) => {
                    let condition = default.r#if.as_ref().map_or_else(yes, |condition| self.or(condition));
                    if let Expr::Symbol(id) = self.or(&default.expression) {
                        choice.defaults.push((id, condition));
                    }
                }
                _ => {}
            }
        }
        let index = self.tree.choices.len();
        let from = From::Choice(choice.title.clone());
        self.tree.choices.push(choice);
        let inner = Around { depends: vec![Condition { expr: Expr::Choice(index), from }], visible: Vec::new() };
        self.entries(entries, file, &inner, Some(index));
    }

    fn own_depends(&mut self, attributes: &[Attribute]) -> Vec<Condition> {
        let mut found = Vec::new();
        for attribute in attributes {
            let expr = match attribute {
                Attribute::DependsOn(depends) => self.conditional(&depends.expression, depends.r#if.as_ref()),
                Attribute::Requires(expression) => self.or(expression),
                _ => continue,
            };
            // Each part by itself, so that the one that fails can be named.
            match expr {
                Expr::And(parts) => {
                    found.extend(parts.into_iter().map(|expr| Condition { expr, from: From::Itself }));
                }
                expr => found.push(Condition { expr, from: From::Itself }),
            }
        }
        found
    }

    /// `depends on A if B` holds where B does not.
    fn conditional(&mut self, expression: &OrExpression, condition: Option<&OrExpression>) -> Expr {
        let expr = self.or(expression);
        match condition {
            None => expr,
            Some(condition) => Expr::Or(vec![expr, Expr::Not(Box::new(self.or(condition)))]),
        }
    }

    fn id(&mut self, name: &str) -> Id {
        if let Some(id) = self.tree.names.get(name) {
            return *id;
        }
        let id = self.tree.symbols.len();
        self.tree.symbols.push(Symbol { name: name.to_owned(), ..Symbol::default() });
        self.tree.names.insert(name.to_owned(), id);
        id
    }

    fn or(&mut self, expression: &OrExpression) -> Expr {
        match expression {
            OrExpression::Term(and) => self.and(and),
            OrExpression::Expression(list) => Expr::Or(list.iter().map(|and| self.and(and)).collect()),
        }
    }

    fn and(&mut self, expression: &AndExpression) -> Expr {
        match expression {
            AndExpression::Term(term) => self.term(term),
            AndExpression::Expression(list) => Expr::And(list.iter().map(|term| self.term(term)).collect()),
        }
    }

    fn term(&mut self, term: &Term) -> Expr {
        match term {
            Term::Not(atom) => Expr::Not(Box::new(self.atom(atom))),
            Term::Atom(atom) => self.atom(atom),
        }
    }

    fn atom(&mut self, atom: &Atom) -> Expr {
        match atom {
            Atom::Symbol(word) => self.word(word),
            Atom::Parenthesis(inner) => self.or(inner),
            Atom::Macro(text) => Expr::Macro(text.to_string()),
            Atom::Compare(compare) => {
                let relation = match compare.operator {
                    CompareOperator::Equal => Relation::Equal,
                    CompareOperator::NotEqual => Relation::NotEqual,
                    CompareOperator::LowerThan => Relation::Less,
                    CompareOperator::LowerOrEqual => Relation::LessOrEqual,
                    CompareOperator::GreaterThan => Relation::Greater,
                    CompareOperator::GreaterOrEqual => Relation::GreaterOrEqual,
                };
                let (left, right) = (self.operand(&compare.left), self.operand(&compare.right));
                Expr::Compare(Box::new(left), relation, Box::new(right))
            }
        }
    }

    fn operand(&mut self, operand: &CompareOperand) -> Expr {
        match operand {
            CompareOperand::Symbol(word) => self.word(word),
            CompareOperand::Macro(text) => Expr::Macro(text.to_string()),
        }
    }

    fn word(&mut self, word: &Word) -> Expr {
        match word {
            Word::NonConstant(name) if name.contains('$') => Expr::Macro(name.clone()),
            Word::NonConstant(name) => Expr::Symbol(self.id(name)),
            Word::Constant(ConstantSymbol::Integer(number)) => Expr::Constant(number.to_string()),
            Word::Constant(ConstantSymbol::Hex(text)) => Expr::Constant(text.clone()),
            Word::Constant(ConstantSymbol::String(text)) if text.contains("$(") => Expr::Macro(text.clone()),
            Word::Constant(ConstantSymbol::String(text)) => Expr::Constant(text.clone()),
            Word::Constant(ConstantSymbol::Boolean(on)) => Expr::Constant(if *on { "y" } else { "n" }.to_owned()),
            Word::Constant(ConstantSymbol::Tristate(value)) => Expr::Constant(
                match value {
                    Tristate::Yes => "y",
                    Tristate::Module => "m",
                    Tristate::No => "n",
                }
                .to_owned(),
            ),
        }
    }
}

fn yes() -> Expr {
    Expr::Constant("y".to_owned())
}
