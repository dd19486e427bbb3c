//! Every kernel on this machine's GPU: correctness, then figures, into one report (`make gpu-check`).
//!
//! Each part is a file of its own and is not done twice, so that a run that was cut off goes on where it was.
#![allow(clippy::print_stdout)] // A report is what this program is for.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use weighbridge_cuda::check::cases;
use weighbridge_cuda::check::speed::{self, Figure, Scale};
use weighbridge_cuda::device::{Cards, CudaDevice, Device, DeviceChoice};
use weighbridge_cuda::pack::{Places, find};

/// Check and measure every kernel on a GPU.
#[derive(Parser)]
struct Arguments {
    /// The kernels' pack; without one NVRTC makes them.
    #[arg(long, env = "WEIGHBRIDGE_KERNELS")]
    kernels: PathBuf,
    /// Where parts and report go.
    #[arg(long)]
    out: PathBuf,
    /// The date that the report has.
    #[arg(long)]
    date: String,
    /// The card, as `nvidia-smi -L` prints it.
    #[arg(long, default_value = "first", value_parser = choice)]
    device: DeviceChoice,
}

fn choice(text: &str) -> Result<DeviceChoice, String> {
    if text == "first" { Ok(DeviceChoice::First) } else { text.parse() }
}

fn main() -> anyhow::Result<ExitCode> {
    run(&Arguments::parse())
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&arguments.out)?;
    let card = Cards::probe()?.open(&arguments.device)?;
    let places = Places { pack: arguments.kernels.clone(), cache: arguments.out.join("compiled") };
    let (code, found) = find(&places, card.description().capability)?;
    let mut device = CudaDevice::open(card, &code)?;
    let description = device.description().clone();
    let mut report = format!(
        "# {}\n\n{}, compute capability {}.{}, {} GiB; kernels for {} ({found:?}); cuBLASLt: {}\n\n",
        description.name,
        arguments.date,
        description.capability.0,
        description.capability.1,
        description.memory >> 30,
        code.architecture,
        if device.multiplies() { "found" } else { "not found, what needs it is NOT RUN" },
    );
    let blas = device.multiplies();
    let parts: [(&str, Part<'_>); 4] = [
        ("correctness", &|device| correctness(device, blas)),
        ("products", &|device| {
            let bound = speed::bandwidth(device, Scale::CARD)?;
            let mut figures = vec![("copy_gb_per_second".to_owned(), bound / 1e9)];
            figures.extend(speed::products(device, Scale::CARD, bound)?);
            Ok(table(&figures))
        }),
        ("attention", &|device| {
            let bound = speed::bandwidth(device, Scale::CARD)?;
            Ok(table(&speed::decode_attention(device, Scale::CARD, bound)?))
        }),
        ("prefill", &|device| match blas {
            true => Ok(table(&speed::prefill(device, Scale::CARD)?)),
            false => Ok("NOT RUN: cuBLASLt was not found\n".to_owned()),
        }),
    ];
    for (name, part) in parts {
        let text = done(&arguments.out, name, || part(&mut device)).with_context(|| name.to_owned())?;
        print!("{text}");
        write!(report, "## {name}\n\n{text}\n")?;
    }
    let path = arguments.out.join("report.md");
    std::fs::write(&path, &report)?;
    println!("report: {}", path.display());
    Ok(if report.contains("WRONG") { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

type Part<'a> = &'a dyn Fn(&mut dyn Device) -> anyhow::Result<String>;

/// What a part said, now or in an earlier run.
fn done(out: &Path, name: &str, run: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<String> {
    let path = out.join(format!("{name}.part"));
    if let Ok(text) = std::fs::read_to_string(&path) {
        return Ok(text);
    }
    let text = run()?;
    let beside = path.with_extension("new");
    std::fs::write(&beside, &text)?;
    std::fs::rename(&beside, &path)?;
    Ok(text)
}

/// One line an operation, and one for each shape that is off.
fn correctness(device: &mut dyn Device, blas: bool) -> anyhow::Result<String> {
    let mut text = String::from("| operation | shapes | furthest off | wrong |\n|---|---|---|---|\n");
    let mut wrong = String::new();
    let cases = cases();
    for group in cases.chunk_by(|a, b| a.operation == b.operation) {
        let operation = group.first().map_or("", |case| case.operation);
        if operation == "multiply" && !blas {
            writeln!(text, "| {operation} | NOT RUN: cuBLASLt was not found | | |")?;
            continue;
        }
        let (mut worst, mut failed) = (0.0f64, 0);
        for case in group {
            let off = case.run(device)?;
            worst = worst.max(off);
            if off > case.bound {
                failed += 1;
                writeln!(
                    wrong,
                    "WRONG: {operation} {}: off by {off:e}, at most {:e}",
                    case.shape, case.bound
                )?;
            }
        }
        writeln!(text, "| {operation} | {} | {worst:.1e} | {failed} |", group.len())?;
    }
    Ok(text + "\n" + &wrong)
}

fn table(figures: &[Figure]) -> String {
    figures.iter().map(|(name, value)| format!("figure {name} {value:.3}\n")).collect()
}
