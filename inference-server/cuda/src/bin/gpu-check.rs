//! Every kernel on this machine's GPU: correctness, then figures (`make gpu-check`, which runs and keeps each part by itself).
#![allow(clippy::print_stdout)] // A report is what this program is for.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use weighbridge_cuda::check::speed::{self, Figure, Scale};
use weighbridge_cuda::check::{Case, cases};
use weighbridge_cuda::device::{Cards, CudaDevice, Device, DeviceChoice};
use weighbridge_cuda::form::{Form, Matrix, input_stride};
use weighbridge_cuda::launch::Address;
use weighbridge_cuda::operations::Product;
use weighbridge_cuda::pack::{Places, find};

/// Check and measure every kernel on a GPU.
#[derive(Parser)]
struct Arguments {
    /// The kernels' pack; without one NVRTC makes them.
    #[arg(long, env = "WEIGHBRIDGE_KERNELS")]
    kernels: PathBuf,
    /// Where what NVRTC makes is kept.
    #[arg(long)]
    compiled: PathBuf,
    /// What to do; all of it, one after another, without.
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// Of each operation and type the first shape alone, where every access is checked by a tool that makes it slow.
    #[arg(long)]
    smallest: bool,
    /// The card, as `nvidia-smi -L` prints it.
    #[arg(long, default_value = "first", value_parser = choice)]
    device: DeviceChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What the card is, and what was found for it.
    Card,
    /// Every kernel against plain arithmetic.
    Correctness,
    /// Products as a share of what the card copies.
    Products,
    /// Attention as a share of what the card copies.
    Attention,
    /// Products of a prompt.
    Prefill,
}

impl Part {
    const ALL: [Self; 5] = [Self::Card, Self::Correctness, Self::Products, Self::Attention, Self::Prefill];
}

fn choice(text: &str) -> Result<DeviceChoice, String> {
    if text == "first" { Ok(DeviceChoice::First) } else { text.parse() }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Without the stack, which a report has no use for.
            let _ = writeln!(std::io::stderr(), "Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let card = Cards::probe()?.open(&arguments.device)?;
    let places = Places { pack: arguments.kernels.clone(), cache: arguments.compiled.clone() };
    let (code, found) = find(&places, card.description().capability)?;
    let mut device = CudaDevice::open(card, &code)?;
    let mut good = true;
    for part in Part::ALL.into_iter().filter(|part| arguments.part.is_none_or(|only| only == *part)) {
        let text = match part {
            Part::Card => described(&device, &format!("{} ({found:?})", code.architecture)),
            Part::Correctness => correctness(&mut device, arguments.smallest),
            Part::Products => products(&mut device),
            Part::Attention => attention(&mut device),
            Part::Prefill => prefill(&mut device),
        };
        match text.with_context(|| format!("{part:?}")) {
            Ok(text) => {
                println!("{text}");
                good &= !text.contains("WRONG");
            }
            // The others are told all the same.
            Err(error) => {
                println!("FAILED: {error:#}");
                good = false;
            }
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn described(device: &dyn Device, kernels: &str) -> anyhow::Result<String> {
    let description = device.description();
    let (major, minor) = description.capability;
    let library = if device.multiplies() { "found" } else { "not found: our own kernels multiply prompts" };
    let (name, memory) = (&description.name, description.memory >> 30);
    Ok(format!(
        "{name}, compute capability {major}.{minor}, {memory} GiB; kernels for {kernels}; cuBLASLt {library}"
    ))
}

fn products(device: &mut dyn Device) -> anyhow::Result<String> {
    let bound = speed::bandwidth(device, Scale::CARD)?;
    let mut figures = vec![("copy_gb_per_second".to_owned(), bound / 1e9)];
    figures.extend(speed::products(device, Scale::CARD, bound)?);
    Ok(table(&figures))
}

fn attention(device: &mut dyn Device) -> anyhow::Result<String> {
    let bound = speed::bandwidth(device, Scale::CARD)?;
    Ok(table(&speed::decode_attention(device, Scale::CARD, bound)?))
}

fn prefill(device: &mut dyn Device) -> anyhow::Result<String> {
    if device.multiplies() {
        return Ok(table(&speed::prefill(device, Scale::CARD)?));
    }
    Ok("by our own kernels, for cuBLASLt was not found\n".to_owned() + &table(&[own_prefill(device)?]))
}

/// The product of a prompt by our own kernels alone: multiplications a second, in TFLOP/s. What is multiplied is zeros, which
/// take as long as anything.
fn own_prefill(device: &mut dyn Device) -> anyhow::Result<Figure> {
    let Scale { rows, columns, prefill: tokens, rounds, .. } = Scale::CARD;
    let (form, stride) = (Form::Q4K, input_stride(columns));
    let mut zeros = |bytes: u64| -> anyhow::Result<Address> {
        let at = device.allocate(bytes)?;
        device.fill(at, 0, bytes)?;
        Ok(at)
    };
    let at = zeros(form.bytes(rows, columns))?;
    let input = zeros((tokens * stride * 2) as u64)?;
    let out = zeros((tokens * rows * 4) as u64)?;
    let product = Product {
        weights: &Matrix { form, rows, columns, at },
        input,
        input_stride: stride,
        tokens,
        out,
        out_stride: rows,
        bias: Address::NULL,
        add: false,
        experts: None,
    };
    let launch = product.launch();
    let mut times = Vec::new();
    for _ in 0..=rounds {
        device.synchronize()?;
        let began = Instant::now();
        device.launch(&launch)?;
        device.synchronize()?;
        times.push(began.elapsed().as_secs_f64());
    }
    // The first one brings the kernel's code to the card.
    let mut times = times.split_off(1);
    times.sort_by(f64::total_cmp);
    let seconds = times.get(rounds / 2).copied().context("no round was timed")?;
    Ok(("prefill_q4_k_own_tflops".to_owned(), 2.0 * (rows * columns * tokens) as f64 / 1e12 / seconds))
}

/// One line an operation, and one for each shape that is off.
fn correctness(device: &mut dyn Device, smallest: bool) -> anyhow::Result<String> {
    let mut text = String::from("| operation | shapes | furthest off | wrong |\n|---|---|---|---|\n");
    let mut wrong = String::new();
    let mut cases = cases();
    if smallest {
        // A shape is told with its type first.
        let kind = |case: &Case| case.shape.split(' ').next().map(str::to_owned);
        cases.dedup_by(|later, case| later.operation == case.operation && kind(later) == kind(case));
    }
    for group in cases.chunk_by(|a, b| a.operation == b.operation) {
        let operation = group.first().map_or("", |case| case.operation);
        if operation == "multiply" && !device.multiplies() {
            writeln!(text, "| {operation} | none, for cuBLASLt was not found | | |")?;
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
