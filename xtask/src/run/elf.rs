//! Checks that a built program is one that may ship: static, stripped, for the right machine, no traces of
//! the machine it was built on.
//!
//! Knows ELF, no recipes. The file's bytes are believed in nothing: what they point at is looked up, never assumed.

use std::fmt::Write as _;
use std::path::Path;

use fs_err as fs;
use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, ReadRef};

use crate::data::types::Arch;
use crate::error::{Context, Failure, Kind, Result};

/// Checks the file at `path`, called `shown` in messages; false if it is no ELF file at all.
///
/// `forbidden` are texts that must not be inside, each with what it is: `("the build folder", b"/…")`.
pub fn check(path: &Path, shown: &str, arch: Arch, forbidden: &[(&str, &[u8])]) -> Result<bool> {
    let bytes = fs::read(path)?;
    if !bytes.starts_with(&elf::ELFMAG) {
        return Ok(false);
    }
    let facts = Facts::of(&bytes).map_err(|error| {
        Failure::new(Kind::Check, format!("{shown} must not ship: it is a damaged ELF file: {error:#}"))
    })?;
    let wanted = Wanted { arch, forbidden };
    let broken: Vec<String> = RULES
        .iter()
        .flat_map(|(name, rule)| rule(&facts, &wanted).into_iter().map(move |what| format!("{name}: {what}")))
        .collect();
    if broken.is_empty() {
        return Ok(true);
    }
    let mut message = format!("{shown} must not ship:");
    for line in broken {
        let _ = write!(message, "\n  {line}");
    }
    Err(Failure::new(Kind::Check, message).into())
}

/// What the rules are held against.
struct Wanted<'a> {
    arch: Arch,
    forbidden: &'a [(&'a str, &'a [u8])],
}

/// A rule says what breaks it, in any number of sentences.
type Rule = fn(&Facts, &Wanted) -> Vec<String>;

/// Every rule, in the order in which a person wants to read about them.
const RULES: &[(&str, Rule)] = &[
    ("machine", machine),
    ("float ABI", float_abi),
    ("type", file_type),
    ("whole", whole),
    ("static", no_interpreter),
    ("static", nothing_needed),
    ("stack", stack_not_executable),
    ("memory", no_writable_code),
    ("stripped", no_symbols),
    ("stripped", no_debug_info),
    ("reproducible", nothing_forbidden),
];

fn machine(facts: &Facts, wanted: &Wanted) -> Vec<String> {
    let expected = match wanted.arch {
        Arch::Aarch64 => (elf::EM_AARCH64, true, true),
        Arch::Armhf => (elf::EM_ARM, false, true),
        Arch::X86_64 => (elf::EM_X86_64, true, true),
    };
    let found = (facts.machine, facts.is_64, facts.is_little);
    let say = |(machine, is_64, is_little): (elf::Machine, bool, bool)| {
        let (bits, order) = (if is_64 { 64 } else { 32 }, if is_little { "little" } else { "big" });
        format!("{}, {bits} bit, {order}-endian", machine_name(machine))
    };
    broken(expected != found, || format!("expected {}, found {}", say(expected), say(found)))
}

fn machine_name(machine: elf::Machine) -> String {
    match machine {
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_ARM => "arm".to_owned(),
        elf::EM_X86_64 => "x86-64".to_owned(),
        elf::EM_386 => "x86".to_owned(),
        elf::EM_RISCV => "risc-v".to_owned(),
        other => format!("machine {}", other.0),
    }
}

/// Linkers for C mark what they were given, hard or soft. Go's marks nothing: it calls nobody.
fn float_abi(facts: &Facts, wanted: &Wanted) -> Vec<String> {
    if wanted.arch != Arch::Armhf || facts.machine != elf::EM_ARM {
        return Vec::new();
    }
    let eabi = facts.flags & elf::EF_ARM_EABIMASK;
    let mut found = broken(eabi != elf::EF_ARM_EABI_VER5.0, || {
        format!("expected EABI version 5, found version {} (flags 0x{:08x})", eabi >> 24, facts.flags)
    });
    found.extend(broken(facts.flags & elf::EF_ARM_ABI_FLOAT_SOFT != 0, || {
        format!("expected hard float, found soft float (flags 0x{:08x})", facts.flags)
    }));
    found
}

fn file_type(facts: &Facts, _: &Wanted) -> Vec<String> {
    let program = matches!(facts.kind, elf::ET_EXEC | elf::ET_DYN);
    let mut found = broken(!program, || {
        format!("expected a program (EXEC or DYN), found type {} (1: object file, 4: core dump)", facts.kind.0)
    });
    let loads = facts.segments.iter().any(|segment| segment.kind == elf::PT_LOAD);
    found.extend(broken(!loads, || "it has no segment that is loaded".to_owned()));
    found
}

fn whole(facts: &Facts, _: &Wanted) -> Vec<String> {
    let size = facts.bytes.len() as u64;
    let outside = |(offset, length): (u64, u64)| offset.checked_add(length).is_none_or(|end| end > size);
    let segments = facts.segments.iter().enumerate().filter(|(_, segment)| outside(segment.range));
    let segments = segments.map(|(index, _)| format!("segment {index} reaches past the end of the file"));
    let sections = facts.sections.iter().filter(|section| section.range.is_some_and(outside));
    let sections = sections.map(|section| format!("section {} reaches past the end of the file", section.name));
    segments.chain(sections).collect()
}

fn no_interpreter(facts: &Facts, _: &Wanted) -> Vec<String> {
    let found = facts.segments.iter().filter(|segment| segment.kind == elf::PT_INTERP);
    found
        .map(|segment| {
            let name = facts.slice(segment.range).unwrap_or_default();
            format!("it asks for the interpreter `{}` (segment INTERP)", printable(name))
        })
        .collect()
}

fn nothing_needed(facts: &Facts, _: &Wanted) -> Vec<String> {
    facts.needed.iter().map(|library| format!("it needs the library `{library}` (segment DYNAMIC)")).collect()
}

fn stack_not_executable(facts: &Facts, _: &Wanted) -> Vec<String> {
    let mut stacks = facts.segments.iter().filter(|segment| segment.kind == elf::PT_GNU_STACK).peekable();
    if stacks.peek().is_none() {
        return vec!["it has no segment GNU_STACK, so its stack is executable".to_owned()];
    }
    broken(stacks.any(|stack| stack.execute), || "its stack is executable (segment GNU_STACK)".to_owned())
}

fn no_writable_code(facts: &Facts, _: &Wanted) -> Vec<String> {
    let segments = facts.segments.iter().enumerate();
    let found = segments.filter(|(_, s)| s.kind == elf::PT_LOAD && s.write && s.execute);
    found.map(|(index, _)| format!("segment {index} is both writable and executable")).collect()
}

fn no_symbols(facts: &Facts, _: &Wanted) -> Vec<String> {
    let found = facts.sections.iter().filter(|section| section.kind == elf::SHT_SYMTAB);
    found.map(|section| format!("it has a symbol table (section {})", section.name)).collect()
}

fn no_debug_info(facts: &Facts, _: &Wanted) -> Vec<String> {
    let debug = |name: &str| name.starts_with(".debug_") || name.starts_with(".zdebug_");
    let found = facts.sections.iter().filter(|section| debug(&section.name));
    found.map(|section| format!("it has debug information (section {})", section.name)).collect()
}

fn nothing_forbidden(facts: &Facts, wanted: &Wanted) -> Vec<String> {
    let mut found = Vec::new();
    for (what, text) in wanted.forbidden {
        let Some(offset) = find(facts.bytes, text) else { continue };
        // From the text on, as far as it can be read: a whole path tells more than its beginning.
        let around = printable(&facts.bytes[offset..facts.bytes.len().min(offset + text.len().max(120))]);
        found.push(format!("{} holds {what}: `{around}` at offset 0x{offset:x}", facts.place(offset as u64)));
    }
    found
}

fn broken(broken: bool, what: impl FnOnce() -> String) -> Vec<String> {
    if broken { vec![what()] } else { Vec::new() }
}

/// What the rules look at, the same for 32 and 64 bit.
struct Facts<'a> {
    bytes: &'a [u8],
    is_64: bool,
    is_little: bool,
    machine: elf::Machine,
    kind: elf::FileType,
    flags: u32,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    /// The names of the libraries that the dynamic loader is asked for.
    needed: Vec<String>,
}

struct Segment {
    kind: elf::ProgramType,
    write: bool,
    execute: bool,
    /// Offset and length in the file.
    range: (u64, u64),
    address: u64,
}

struct Section {
    name: String,
    kind: elf::SectionType,
    /// Offset and length in the file, if it has any bytes there.
    range: Option<(u64, u64)>,
}

impl<'a> Facts<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self> {
        match bytes.get(elf::ELFMAG.len()) {
            Some(1) => Self::read::<elf::FileHeader32<Endianness>>(bytes),
            Some(2) => Self::read::<elf::FileHeader64<Endianness>>(bytes),
            other => anyhow::bail!("its class is {other:?}, neither 1 (32 bit) nor 2 (64 bit)"),
        }
    }

    fn read<H: FileHeader<Endian = Endianness>>(bytes: &'a [u8]) -> Result<Self> {
        let header = H::parse(bytes).context("read its header")?;
        let endian = header.endian().context("read its byte order")?;
        let mut facts = Self {
            bytes,
            is_64: header.is_type_64(),
            is_little: header.is_little_endian(),
            machine: header.e_machine(endian),
            kind: header.e_type(endian),
            flags: header.e_flags(endian).0,
            segments: Vec::new(),
            sections: Vec::new(),
            needed: Vec::new(),
        };
        let segments = header.program_headers(endian, bytes).context("read its segments")?;
        facts.segments = segments.iter().map(|segment| Segment::of::<H>(segment, endian)).collect();
        facts.sections = sections(header, endian, bytes)?;
        for segment in segments {
            let dynamic = segment.dynamic(endian, bytes).context("read its dynamic segment")?;
            facts.needed.extend(needed::<H>(&facts, dynamic.unwrap_or_default(), endian));
        }
        Ok(facts)
    }

    fn slice(&self, (offset, length): (u64, u64)) -> Option<&'a [u8]> {
        self.bytes.read_bytes_at(offset, length).ok()
    }

    /// The bytes from a virtual address to the end of its segment.
    fn loaded(&self, address: u64) -> Option<&'a [u8]> {
        let loads = self.segments.iter().filter(|segment| segment.kind == elf::PT_LOAD);
        loads
            .filter_map(|segment| {
                let inside = address.checked_sub(segment.address)?;
                let left = segment.range.1.checked_sub(inside)?;
                self.slice((segment.range.0.checked_add(inside)?, left))
            })
            .next()
    }

    /// Where in the file an offset is, in words.
    fn place(&self, offset: u64) -> String {
        let holds = |(start, length): (u64, u64)| offset.checked_sub(start).is_some_and(|inside| inside < length);
        match self.sections.iter().find(|section| section.range.is_some_and(holds)) {
            Some(section) => format!("section {}", section.name),
            None => match self.segments.iter().position(|segment| holds(segment.range)) {
                Some(index) => format!("segment {index}"),
                None => "a part outside all sections".to_owned(),
            },
        }
    }
}

impl Segment {
    fn of<H: FileHeader<Endian = Endianness>>(header: &H::ProgramHeader, endian: Endianness) -> Self {
        let flags = header.p_flags(endian).0;
        Self {
            kind: header.p_type(endian),
            write: flags & elf::PF_W.0 != 0,
            execute: flags & elf::PF_X.0 != 0,
            range: header.file_range(endian),
            address: header.p_vaddr(endian).into(),
        }
    }
}

fn sections<H: FileHeader<Endian = Endianness>>(header: &H, endian: Endianness, bytes: &[u8]) -> Result<Vec<Section>> {
    let table = header.sections(endian, bytes).context("read its sections")?;
    let section = |header: &H::SectionHeader| {
        let name = table.section_name(endian, header).context("read a section's name")?;
        Ok(Section { name: printable(name), kind: header.sh_type(endian), range: header.file_range(endian) })
    };
    table.iter().map(section).collect()
}

fn needed<H: FileHeader<Endian = Endianness>>(facts: &Facts, dynamic: &[DynOf<H>], endian: Endianness) -> Vec<String> {
    let value = |entry: &DynOf<H>| -> u64 { entry.d_val(endian).into() };
    let strings = dynamic.iter().find(|entry| entry.d_tag(endian) == elf::DT_STRTAB).map(value);
    let strings = strings.and_then(|address| facts.loaded(address));
    let name = |offset: u64| strings?.get(usize::try_from(offset).ok()?..).map(printable);
    let needed = dynamic.iter().filter(|entry| entry.d_tag(endian) == elf::DT_NEEDED);
    needed.map(|entry| name(value(entry)).unwrap_or_else(|| "its name cannot be read".to_owned())).collect()
}

type DynOf<H> = <H as FileHeader>::Dyn;

/// The text at the beginning of `bytes`, up to a NUL or anything else that is no text.
fn printable(bytes: &[u8]) -> String {
    let text = bytes.iter().take(256).take_while(|byte| matches!(byte, b' '..=b'~'));
    text.map(|byte| char::from(*byte)).collect()
}

/// Where `text` first stands in `bytes`.
pub fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    let (first, rest) = text.split_first()?;
    let mut from = 0;
    while let Some(step) = bytes[from..].iter().position(|byte| byte == first) {
        if bytes[from + step + 1..].starts_with(rest) {
            return Some(from + step);
        }
        from += step + 1;
    }
    None
}
