//! What a kernel takes of a multiprocessor, as the assembler says it.

use object::{Object as _, ObjectSection as _};
use serde::{Deserialize, Serialize};

/// A kernel's registers and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The kernel.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of shared memory of a block.
    pub shared_bytes: u32,
    /// Bytes that a thread's registers did not hold, stored and loaded.
    pub spill_bytes: u32,
    /// Instructions, each once however often it runs.
    pub instructions: u32,
}

/// Bytes of an instruction, since Volta.
const INSTRUCTION: u64 = 16;

/// Counts the instructions of each kernel in `image`, a module of machine code: each has a section of its own.
pub(super) fn count_instructions(usage: &mut [Usage], image: &[u8]) -> Result<(), object::Error> {
    let file = object::File::parse(image)?;
    for usage in usage {
        let section = file.section_by_name(&format!(".text.{}", usage.kernel));
        usage.instructions =
            section.map_or(0, |section| u32::try_from(section.size() / INSTRUCTION).unwrap_or(u32::MAX));
    }
    Ok(())
}

/// Reads `ptxas -v`'s lines: for each kernel its name, its spills, then what it uses.
pub(super) fn parse(log: &str) -> Vec<Usage> {
    let mut all: Vec<Usage> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            all.push(Usage { kernel, ..Usage::default() });
        }
        let Some(usage) = all.last_mut() else { continue };
        if line.contains("bytes spill stores") {
            let spilled =
                number_before(line, "bytes spill stores") + number_before(line, "bytes spill loads");
            usage.spill_bytes = spilled;
        }
        if line.contains("Used ") {
            usage.registers = number_before(line, "registers");
            usage.shared_bytes = number_before(line, "bytes smem");
        }
    }
    all.sort_by(|a, b| a.kernel.cmp(&b.kernel));
    all
}

/// The number before `words`; 0 where they are not there.
fn number_before(line: &str, words: &str) -> u32 {
    let before = line.split(words).next().filter(|before| before.len() < line.len());
    before.and_then(|before| before.split_whitespace().last()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Usage, parse};

    #[test]
    fn the_assemblers_lines_are_read() {
        let log = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'sample' for 'sm_90a'\n\
            ptxas info    : Function properties for sample\n\
            ptxas         .     24 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads\n\
            ptxas info    : Used 32 registers, used 1 barriers, 24 bytes cumulative stack size, 8352 bytes smem\n\
            ptxas info    : Compiling entry function 'gate' for 'sm_90a'\n\
            ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Used 16 registers, used 0 barriers\n";
        let usage = |kernel: &str, registers, shared_bytes, spill_bytes| Usage {
            kernel: kernel.to_owned(),
            registers,
            shared_bytes,
            spill_bytes,
            instructions: 0,
        };
        assert_eq!(parse(log), [usage("gate", 16, 0, 0), usage("sample", 32, 8352, 20)]);
    }
}
