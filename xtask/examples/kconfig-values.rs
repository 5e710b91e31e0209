//! Prints every option of a kernel that is on, computed from a configuration, as `make olddefconfig` would write it.
//!
//! `bench/kernel` compares the two: `cargo run --example kconfig-values SOURCE CONFIG ARCH`.

use std::collections::BTreeMap;
use std::path::Path;

use xtask::kernel::KernelConfig;
use xtask::kernel::kconfig::Tree;
use xtask::kernel::kconfig::eval::{Eval, Given, Tri};
use xtask::kernel::kconfig::tree::{SymbolKind, with_stack};

fn main() -> anyhow::Result<()> {
    let [_, source, config, arch] = std::env::args().collect::<Vec<_>>().try_into().expect("SOURCE CONFIG ARCH");
    let tree = Tree::read(Path::new(&source), &arch)?;
    let config = KernelConfig::parse(&std::fs::read(config)?)?;
    let options = xtask::data::kernel::Options::load(Path::new("."))?;
    let given = Given { config: &config, compiler: &options.compiler };
    let changes = BTreeMap::new();
    let lines = with_stack(|| {
        let eval = Eval::new(&tree, &given, &changes);
        let on = |id: &usize| tree.symbols[*id].kind != SymbolKind::Text && eval.symbol(*id) != Tri::No;
        let line = |id: usize| format!("CONFIG_{}={}", tree.symbols[id].name, eval.symbol(id).as_str());
        let mut lines: Vec<String> = (0..tree.symbols.len()).filter(on).map(line).collect();
        lines.sort();
        lines
    });
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}
