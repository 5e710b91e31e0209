//! Two ELF files, section by section.

use object::elf::ELFMAG;
use object::{File, Object, ObjectSection, ObjectSymbol};

use super::cause::{Cause, Marks};
use super::{Findings, Place, bytes};

/// After this many sections in full, the others are only named.
const SECTIONS: usize = 6;
/// What linkers call the sections that identify a build.
const BUILD_IDS: [&str; 2] = [".note.gnu.build-id", ".note.go.buildid"];

/// Adds what differs; false if one of them is no ELF file that can be read.
pub fn compare(first: &[u8], second: &[u8], marks: &Marks, findings: &mut Findings) -> bool {
    let parse = |bytes| File::parse(bytes).ok().filter(|_| <[u8]>::starts_with(bytes, &ELFMAG));
    let (Some(a), Some(b)) = (parse(first), parse(second)) else { return false };
    let (a, b) = (sections(&a), sections(&b));
    let mut changed: Vec<Change> = a.iter().filter_map(|section| Change::of(section, &b)).collect();
    changed.extend(
        b.iter().filter(|section| partner(section, &a).is_none()).map(|section| Change { a: None, b: Some(section) }),
    );
    if changed.is_empty() {
        bytes::compare("outside all sections: headers, segments, padding", 0, (first, second), marks, findings);
        return true;
    }
    let alone = changed.iter().all(Change::is_build_id);
    for change in changed.iter().take(SECTIONS) {
        change.report(alone, marks, findings);
    }
    let left: Vec<&str> = changed.iter().skip(SECTIONS).map(Change::name).collect();
    if !left.is_empty() {
        findings.add(Place::new(format!("and {} more sections: {}", left.len(), left.join(", ")), Vec::new()), []);
    }
    true
}

/// A section and what a person wants to know of it.
struct Section<'a> {
    name: String,
    /// Which one of that name: object files have many.
    number: usize,
    offset: usize,
    bytes: &'a [u8],
    /// Name, beginning and end of the symbols in it, in the section's own terms.
    symbols: Vec<(String, usize, usize)>,
}

/// A section that is not the same on both sides, or only on one.
struct Change<'s, 'a> {
    a: Option<&'s Section<'a>>,
    b: Option<&'s Section<'a>>,
}

impl<'s, 'a> Change<'s, 'a> {
    fn of(section: &'s Section<'a>, others: &'s [Section<'a>]) -> Option<Self> {
        match partner(section, others) {
            Some(other) if other.bytes == section.bytes => None,
            other => Some(Self { a: Some(section), b: other }),
        }
    }

    fn name(&self) -> &str {
        self.a.or(self.b).map_or("", |section| section.name.as_str())
    }

    fn is_build_id(&self) -> bool {
        BUILD_IDS.contains(&self.name())
    }

    fn report(&self, alone: bool, marks: &Marks, findings: &mut Findings) {
        let (Some(a), Some(b)) = (self.a, self.b) else {
            let side = if self.a.is_some() { "first" } else { "second" };
            return findings
                .add(Place::new(format!("section {} is only in the {side} build", self.name()), vec![]), []);
        };
        if self.is_build_id() {
            // Most linkers make it from the content: then it says nothing that the other sections do not say.
            let cause = alone.then_some(Cause::BuildId);
            return findings.add(Place::values(format!("section {}", a.name), id(a.bytes), id(b.bytes)), cause);
        }
        let name = format!("section {} at 0x{:x}{}", a.name, a.offset, self.symbol());
        bytes::compare(&name, a.offset, (a.bytes, b.bytes), marks, findings);
    }

    /// The symbol that the first differing byte belongs to.
    fn symbol(&self) -> String {
        let (Some(a), Some(b)) = (self.a, self.b) else { return String::new() };
        let at = a.bytes.iter().zip(b.bytes).take_while(|(a, b)| a == b).count();
        let holds = |(_, start, end): &&(String, usize, usize)| (*start..*end).contains(&at);
        a.symbols.iter().find(holds).map_or(String::new(), |(name, ..)| format!(", in `{name}`"))
    }
}

fn partner<'s, 'a>(section: &Section, others: &'s [Section<'a>]) -> Option<&'s Section<'a>> {
    others.iter().find(|other| (&other.name, other.number) == (&section.name, section.number))
}

fn sections<'a>(file: &File<'a>) -> Vec<Section<'a>> {
    let mut found: Vec<Section> = Vec::new();
    for section in file.sections() {
        let name = String::from_utf8_lossy(section.name_bytes().unwrap_or_default()).into_owned();
        let number = found.iter().filter(|other| other.name == name).count();
        let offset = section.file_range().map_or(0, |(offset, _)| offset as usize);
        let symbols =
            file.symbols().filter(|symbol| symbol.section_index() == Some(section.index()) && symbol.size() > 0);
        let symbol = |symbol: object::Symbol<'_, '_>| {
            let start = symbol.address().checked_sub(section.address())? as usize;
            let name = String::from_utf8_lossy(symbol.name_bytes().ok()?).into_owned();
            Some((name, start, start.checked_add(symbol.size() as usize)?))
        };
        let symbols = symbols.filter_map(symbol).collect();
        found.push(Section { name, number, offset, bytes: section.data().unwrap_or_default(), symbols });
    }
    found
}

/// What a note holds, behind its header and its owner's name.
fn id(note: &[u8]) -> String {
    let length =
        |at: usize| note.get(at..at + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]) as usize);
    let start = length(0).map_or(0, |owner| 12 + owner.min(note.len()).next_multiple_of(4));
    let id = note.get(start..).unwrap_or(note);
    match id.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        true => String::from_utf8_lossy(id).into_owned(),
        false => id.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
