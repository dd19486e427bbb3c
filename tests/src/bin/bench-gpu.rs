//! Whole models on a GPU: tiny ones of every family against the CPU, then random weights in the shape of Llama 3 8B: decode
//! as a share of what the card's memory allows, prefill as a share of what the library multiplies, and the time from a start
//! to the first token.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use weighbridge_cuda::check::speed::{self, Scale};
use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::synth::E4m3;
use weighbridge_tests::cpu::{llama, llama_e4m3};
use weighbridge_tests::figures::{Figures, median};
use weighbridge_tests::gpu::models::{self, Extent};
use weighbridge_tests::gpu::{Subject, WARM, open, overhead, pack};

/// Checks and measures whole models on a GPU.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    part: Part,
    /// Shape of the generated models, as `weighbridge synth` names it.
    #[arg(long, default_value = "8b", global = true)]
    shape: String,
}

#[derive(Subcommand)]
enum Part {
    /// Tiny models of every family and stored type, against the CPU and against themselves; status 1 where one is off.
    Models,
    /// One stream in several types, and 64 streams at 1,024 positions.
    Decode,
    /// 2,048 tokens.
    Prefill,
    /// From a process' start to its first token.
    Coldstart,
    /// The process that `coldstart` starts.
    #[command(hide = true)]
    FirstToken,
}

/// Positions before the token that is timed.
const DEPTH: usize = 512;
/// Steps that are timed.
const STEPS: usize = 64;
/// Sequences of a batch, and their positions.
const BATCH: usize = 64;
const BATCH_DEPTH: usize = 1024;
/// Tokens of a prefill, all in one step.
const PREFILL: usize = 2048;
const ROUNDS: usize = 5;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    // The child of `coldstart` opens the card once, as a server does; there is one, or it would not run.
    let is_child = matches!(args.part, Part::FirstToken);
    if !is_child && let Err(reason) = open(&pack()) {
        writeln!(std::io::stdout(), "NOT RUN: {reason:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    match args.part {
        Part::Models => return check_models(),
        Part::Decode => decode(&args.shape)?,
        Part::Prefill => prefill(&args.shape)?,
        Part::Coldstart => coldstart(&args.shape)?,
        Part::FirstToken => first_token(&args.shape)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check_models() -> Result<ExitCode> {
    let mut figures = Figures::new("gpu-models");
    write!(std::io::stdout(), "{}", models::HEAD)?;
    let mut tell = |row: &str| -> Result<()> { Ok(write!(std::io::stdout(), "{row}")?) };
    let count = models::check(&mut || open(&pack()), &models::all()?, &Extent::CARD, &mut tell)?;
    writeln!(std::io::stdout())?;
    figures.add("gpu_models_checked", count.checked as f64, "models")?;
    figures.add("gpu_models_failed", count.failed as f64, "models")?;
    figures.write()?;
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn decode(shape: &str) -> Result<()> {
    let mut figures = Figures::new("gpu-decode");
    for (kind, name) in [
        (Some(TensorType::BF16), "bf16"),
        (None, "fp8"),
        (Some(TensorType::Q8_0), "q8"),
        (Some(TensorType::Q4K), "q4k"),
    ] {
        let path = match kind {
            Some(kind) => llama(shape, 1, kind)?,
            None => llama_e4m3(shape, 1, E4m3::Blocks)?,
        };
        let mut device = open(&pack())?;
        let bound = speed::bandwidth(&mut *device, Scale::CARD)?;
        figures.add(&format!("{name}_copy_gb_per_second"), bound / 1e9, "GB/s")?;
        let mut subject = Subject::load(device, &path, 1, DEPTH + STEPS + WARM, PREFILL)?;
        subject.prefill(0, DEPTH)?;
        let seconds = subject.decode(1, DEPTH, STEPS)?;
        figures.add(&format!("{name}_decode_tokens_per_second"), 1.0 / seconds, "tokens/s")?;
        let share = subject.step_bytes(1, DEPTH) / seconds / bound;
        figures.add(&format!("{name}_decode_of_bound"), share, "ratio")?;
        drop(subject);
        if kind != Some(TensorType::BF16) {
            continue;
        }
        let device = open(&pack())?;
        let context = overhead::context(BATCH, BATCH_DEPTH, STEPS);
        let mut subject = Subject::load(device, &path, BATCH, context, PREFILL)?;
        for sequence in 0..BATCH {
            subject.prefill(sequence, BATCH_DEPTH)?;
        }
        let seconds = subject.decode(BATCH, BATCH_DEPTH, STEPS)?;
        figures.add("batch64_tokens_per_second", BATCH as f64 / seconds, "tokens/s")?;
        let share = subject.step_bytes(BATCH, BATCH_DEPTH) / seconds / bound;
        figures.add("batch64_of_bound", share, "ratio")?;
        let overhead = overhead::measure(subject, &path, BATCH, BATCH_DEPTH, STEPS)?;
        figures.add("batch64_engine_step_ms", 1e3 * overhead.engine, "ms")?;
        figures.add("batch64_device_step_ms", 1e3 * overhead.device, "ms")?;
        figures.add("batch64_scheduling_overhead", overhead.share(), "ratio")?;
    }
    figures.write()
}

fn prefill(shape: &str) -> Result<()> {
    let mut figures = Figures::new("gpu-prefill");
    for (kind, name) in [(TensorType::BF16, "bf16"), (TensorType::Q4K, "q4k")] {
        let path = llama(shape, 1, kind)?;
        let mut device = open(&pack())?;
        let library = if device.multiplies() {
            speed::prefill(&mut *device, Scale::CARD)?
        } else {
            writeln!(std::io::stdout(), "{name}: by our own kernels, for cuBLASLt was not found")?;
            Vec::new()
        };
        let mut subject = Subject::load(device, &path, 1, PREFILL + 16, PREFILL)?;
        subject.prefill(0, PREFILL)?;
        let times: Result<Vec<f64>> = (0..ROUNDS).map(|_| subject.prefill(0, PREFILL)).collect();
        let seconds = median(&mut times?);
        figures.add(&format!("{name}_prefill_tokens_per_second"), PREFILL as f64 / seconds, "tokens/s")?;
        // Two operations a weight and token; of 8 billion weights all but the embedding table.
        let parameters = 7.5e9;
        let tflops = 2.0 * parameters * PREFILL as f64 / seconds / 1e12;
        if shape == "8b" {
            figures.add(&format!("{name}_prefill_tflops"), tflops, "TFLOP/s")?;
        }
        for (figure, value) in library {
            figures.add(&format!("{name}_{figure}"), value, "TFLOP/s")?;
            if figure == "prefill_library_tflops" && shape == "8b" {
                figures.add(&format!("{name}_prefill_of_library"), tflops / value, "ratio")?;
            }
        }
    }
    figures.write()
}

fn coldstart(shape: &str) -> Result<()> {
    let mut figures = Figures::new("gpu-coldstart");
    let path = llama(shape, 1, TensorType::BF16)?;
    // Into the page cache.
    std::io::copy(&mut std::fs::File::open(&path)?, &mut std::io::sink())?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let status =
            Command::new(std::env::current_exe()?).args(["first-token", "--shape", shape]).status()?;
        if !status.success() {
            bail!("the process ended with {status}");
        }
        times.push(began.elapsed().as_secs_f64());
    }
    figures.add("gpu_first_token_seconds", median(&mut times), "s")?;
    figures.add("weights_gb", std::fs::metadata(&path)?.len() as f64 / 1e9, "GB")?;
    figures.write()
}

fn first_token(shape: &str) -> Result<()> {
    let path = llama(shape, 1, TensorType::BF16)?;
    let device = open(&pack())?;
    Subject::load(device, Path::new(&path), 1, 256, 256)?.prefill(0, 16).map(drop).context("the first token")
}
