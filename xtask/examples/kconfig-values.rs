//! What `bench/kernel-explain` compares with the kernel's own tools:
//!
//!   kconfig-values values SOURCE CONFIG ARCH    every option that is on, as `make olddefconfig` would write it
//!   kconfig-values implicit SOURCE ARCH         options of kernel/options.toml whose `implicit` is not what the tree says

use std::collections::BTreeMap;
use std::path::Path;

use xtask::data::kernel::Options;
use xtask::kernel::KernelConfig;
use xtask::kernel::kconfig::Tree;
use xtask::kernel::kconfig::eval::{Eval, Given, Tri};
use xtask::kernel::kconfig::tree::{Expr, SymbolKind, with_stack};

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = Options::load(Path::new("."))?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["values", source, config, arch] => values(&options, Path::new(source), Path::new(config), arch),
        ["implicit", source, arch] => implicit(&options, Path::new(source), arch),
        _ => anyhow::bail!("values SOURCE CONFIG ARCH, or implicit SOURCE ARCH"),
    }
}

fn values(options: &Options, source: &Path, config: &Path, arch: &str) -> anyhow::Result<()> {
    let tree = Tree::read(source, arch)?;
    let config = KernelConfig::parse(&fs_err::read(config)?)?;
    let given = Given { config: &config, compiler: &options.compiler };
    let changes = BTreeMap::new();
    with_stack(|| {
        let eval = Eval::new(&tree, &given, &changes);
        for (id, symbol) in tree.symbols.iter().enumerate() {
            if symbol.kind != SymbolKind::Text && eval.symbol(id) != Tri::No {
                println!("CONFIG_{}={}", symbol.name, eval.symbol(id).as_str());
            }
        }
    });
    Ok(())
}

/// A defconfig need not mention an option that has a default, or that others turn on.
fn implicit(options: &Options, source: &Path, arch: &str) -> anyhow::Result<()> {
    let tree = Tree::read(source, arch)?;
    for wanted in options.all() {
        let Some(id) = tree.find(wanted.name.as_str()) else { continue };
        let symbol = &tree.symbols[id];
        let no = Expr::Constant("n".to_owned());
        let mut defaults = symbol.definitions.iter().flat_map(|definition| &definition.defaults);
        let default = defaults.any(|(value, _)| *value != no);
        let is = default || !symbol.selected_by.is_empty() || !symbol.implied_by.is_empty();
        if is != wanted.implicit {
            println!("{}: it is {}implicit here", wanted.name, if is { "" } else { "not " });
        }
    }
    Ok(())
}
