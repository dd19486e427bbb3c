//! Compiles every kernel for every architecture, with no GPU: `make kernels`.
#![allow(clippy::print_stdout)] // A report is what this program is for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use clap::Parser;
use weighbridge_cuda::compile::{Architecture, CompileError, Compiled, Compiler, Usage};
use weighbridge_cuda::form::Form;
use weighbridge_cuda::pack;
use weighbridge_cuda::sources::KERNELS;

/// Compile every kernel for every architecture, hold what each takes against the budget, and write the pack.
#[derive(Parser)]
struct Arguments {
    /// Write the pack here; one of the same sources that is there already is taken as it is.
    #[arg(long)]
    out: PathBuf,
    /// What each kernel may take.
    #[arg(long)]
    budget: PathBuf,
    /// Write the budget anew instead of holding to it.
    #[arg(long)]
    write_budget: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    run(&Arguments::parse())
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut failed = 0;
    let kept = pack::Manifest::read(&arguments.out).ok().filter(pack::Manifest::is_ours);
    let manifest = match kept {
        // Damage is found here as it is at a start.
        Some(manifest) if Architecture::ALL.into_iter().all(|a| pack::read(&arguments.out, a).is_ok()) => {
            manifest
        }
        Some(_) | None => {
            let (compiled, errors) = compile_all(Compiler::find()?);
            for error in &errors {
                println!("{error}");
            }
            failed += errors.len();
            let _ = std::fs::remove_dir_all(&arguments.out);
            std::fs::create_dir_all(&arguments.out)?;
            pack::write(&arguments.out, &compiled)?
        }
    };
    let table = by_kernel(&manifest);
    if arguments.write_budget {
        std::fs::write(&arguments.budget, written(&table))?;
    }
    let text = std::fs::read_to_string(&arguments.budget);
    let text = text.with_context(|| arguments.budget.display().to_string())?;
    let over = over_budget(&table, &text);
    print(&table);
    print_products(&table);
    over.iter().for_each(|line| println!("OVER BUDGET {line}"));
    failed += over.len();
    let compiled: usize = manifest.files.iter().map(|file| file.kernels.len()).sum();
    ensure!(failed > 0 || !table.is_empty(), "no kernel was compiled");
    println!("figure kernels_compiled {compiled}");
    println!("figure kernels_failed {failed}");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every module for every architecture, on all cores; the longest first.
fn compile_all(compiler: Compiler) -> (Vec<(Architecture, Vec<Compiled>)>, Vec<CompileError>) {
    let mut jobs: Vec<_> =
        Architecture::ALL.into_iter().flat_map(|a| KERNELS.iter().map(move |k| (a, k))).collect();
    jobs.sort_by_key(|(_, source)| std::cmp::Reverse(source.text.len()));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&(architecture, source)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let compiled = compiler.compile(source, architecture);
                    if let Ok(mut done) = done.lock() {
                        done.push((architecture, compiled));
                    }
                }
            });
        }
    });
    let (mut all, mut errors) = (BTreeMap::<Architecture, Vec<Compiled>>::new(), Vec::new());
    for (architecture, compiled) in done.into_inner().unwrap_or_default() {
        match compiled {
            Ok(compiled) => all.entry(architecture).or_default().push(compiled),
            Err(error) => errors.push(error),
        }
    }
    all.values_mut().for_each(|modules| modules.sort_by_key(|module| module.module));
    (all.into_iter().collect(), errors)
}

/// What each kernel takes on each architecture.
type Table = BTreeMap<String, BTreeMap<Architecture, Usage>>;

fn by_kernel(manifest: &pack::Manifest) -> Table {
    let mut table = Table::new();
    for file in &manifest.files {
        for usage in &file.kernels {
            table.entry(usage.kernel.clone()).or_default().insert(file.architecture, usage.clone());
        }
    }
    table
}

/// A line a kernel: registers, shared memory and spills, the most of all architectures.
fn print(table: &Table) {
    let names: Vec<_> = Architecture::ALL.into_iter().map(Architecture::name).collect();
    println!("architectures: {}", names.join(" "));
    let columns = ["registers", "shared bytes", "spill bytes", "instructions"];
    let [registers, shared, spills, instructions] = columns;
    println!("{:<28} {registers:>9} {shared:>13} {spills:>12} {instructions:>13}", "kernel (most of all)");
    for (kernel, usages) in table {
        let most = |of: fn(&Usage) -> u32| usages.values().map(of).max().unwrap_or(0);
        let (registers, shared) = (most(|usage| usage.registers), most(|usage| usage.shared_bytes));
        let (spills, instructions) = (most(|usage| usage.spill_bytes), most(|usage| usage.instructions));
        println!("{kernel:<28} {registers:>9} {shared:>13} {spills:>12} {instructions:>13}");
    }
}

/// What products for up to 8 rows cost on Hopper: bytes of a weight as it lies there over as a file has it, and the most
/// instructions of a thread for one weight, all of the kernel's counted for a single tile. Speed is not known from this.
fn print_products(table: &Table) {
    println!("{:<28} {:>16} {:>24}", "product, sm_90a", "bytes over file", "instructions a weight <=");
    for form in Form::ALL {
        let name = form.stored().map_or_else(|| "e4m3".to_owned(), |kind| kind.name().to_lowercase());
        let kernel = format!("product_{name}_8");
        let Some(usage) = table.get(&kernel).and_then(|usages| usages.get(&Architecture::Sm90a)) else {
            continue;
        };
        // A tile of 16 rows is a warp's.
        let weights = (16 * form.tile_columns() / 32) as f64;
        let stored =
            form.stored().map_or(1.0, |kind| kind.block_bytes() as f64 / kind.block_elements() as f64);
        let bytes = form.tile_bytes() as f64 / (16 * form.tile_columns()) as f64 / stored;
        println!("{kernel:<28} {bytes:>16.3} {:>24.1}", f64::from(usage.instructions) / weights);
    }
}

/// One line of the budget: a kernel, its shared memory, and the architectures where registers were not enough.
fn line(kernel: &str, usages: &BTreeMap<Architecture, Usage>) -> String {
    let shared = usages.values().map(|usage| usage.shared_bytes).max().unwrap_or(0);
    let spills = usages.iter().filter(|(_, usage)| usage.spill_bytes > 0);
    let spills: Vec<_> =
        spills.map(|(architecture, usage)| format!(" {architecture}:{}", usage.spill_bytes)).collect();
    format!("{kernel} {shared}{}", spills.concat())
}

fn written(table: &Table) -> String {
    let head = "# What kernels may take: bytes of shared memory of a block, and bytes that registers do not hold, by\n\
                # architecture. `make kernels` fails above; `make kernels-budget` writes it anew.\n";
    let lines = table.iter().map(|(kernel, usages)| line(kernel, usages) + "\n");
    head.to_owned() + &lines.collect::<String>()
}

/// What takes more than the budget says, or is not in it.
fn over_budget(table: &Table, text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    let budget: BTreeMap<&str, &str> = lines.collect();
    let mut over = Vec::new();
    for (kernel, usages) in table {
        let Some(allowed) = budget.get(kernel.as_str()) else {
            over.push(format!("{kernel} is not in the budget: `make kernels-budget`"));
            continue;
        };
        let mut words = allowed.split(' ');
        let shared: u32 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let spills: BTreeMap<&str, u32> = words
            .filter_map(|word| word.split_once(':'))
            .filter_map(|(name, n)| Some((name, n.parse().ok()?)))
            .collect();
        for (architecture, usage) in usages {
            let spill = spills.get(architecture.name()).copied().unwrap_or(0);
            if usage.shared_bytes > shared {
                let found = usage.shared_bytes;
                over.push(format!(
                    "{kernel} for {architecture}: {found} bytes of shared memory, {shared} allowed"
                ));
            }
            if usage.spill_bytes > spill {
                let found = usage.spill_bytes;
                over.push(format!("{kernel} for {architecture}: {found} bytes spilled, {spill} allowed"));
            }
        }
    }
    over
}

#[cfg(test)]
mod tests {
    use super::{Architecture, Table, Usage, over_budget, written};

    fn table(shared_bytes: u32, spill_bytes: u32) -> Table {
        let kernel = "gate".to_owned();
        let usage = Usage { kernel, registers: 9, shared_bytes, spill_bytes, instructions: 1 };
        Table::from([("gate".to_owned(), [(Architecture::Sm80, usage)].into())])
    }

    #[test]
    fn what_is_written_is_kept_and_more_is_not() {
        let budget = written(&table(64, 8));
        assert!(over_budget(&table(64, 8), &budget).is_empty());
        assert!(over_budget(&table(0, 0), &budget).is_empty());
        assert_eq!(
            over_budget(&table(65, 0), &budget),
            ["gate for sm_80: 65 bytes of shared memory, 64 allowed"]
        );
        assert_eq!(over_budget(&table(0, 9), &budget), ["gate for sm_80: 9 bytes spilled, 8 allowed"]);
        assert_eq!(over_budget(&table(0, 0), ""), ["gate is not in the budget: `make kernels-budget`"]);
    }
}
