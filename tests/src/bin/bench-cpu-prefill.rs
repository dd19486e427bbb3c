//! Prefill of 512 tokens beside llama.cpp, the two engines taking turns on the same generated Q4_K file, medians; with
//! each kernel that the CPU has forced on ours in turn, the best first. llama.cpp has always its native build: each ratio
//! is against all that it can do here. Achieved multiply-accumulates are compared with what the same threads reach
//! out of registers with the same instructions, measured before and after.

use std::io::Write;

use anyhow::Result;
use clap::Parser;
use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::kernels::Isa;
use weighbridge_inference_server::server::config::DECODER_STEP;
use weighbridge_tests::cpu::{Bounds, Common, Ours, Pair, Peer, generated, header, profile_table};
use weighbridge_tests::figures::Figures;

/// Measures prefill beside llama.cpp.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 512)]
    tokens: usize,
    /// Tokens of a step of ours; the server's default.
    #[arg(long, default_value_t = DECODER_STEP)]
    step: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let model = generated(&args.common, TensorType::Q4K, "q4k")?;
    let mut engines = Vec::new();
    let best = Isa::detect();
    for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Portable) {
        let mut ours = Ours::load(&model, &args.common, Some(isa), 1, args.tokens)?;
        ours.prefill(args.tokens, args.step)?;
        engines.push((isa, ours, Pair::default()));
    }
    let mut peer = Peer::start(&model, &args.common, args.tokens)?;
    if let Some((_, ours, _)) = engines.first() {
        header(ours, &peer)?;
    }
    let mut bounds = Vec::new();
    for (_, ours, _) in &mut engines {
        bounds.push(Bounds::measure(ours)?);
    }
    for _ in 0..args.common.rounds {
        for (isa, ours, pair) in &mut engines {
            let what = format!("prefill on {}", isa.name());
            pair.add(&what, ours.prefill(args.tokens, args.step)?, peer.prefill(args.tokens)?)?;
        }
    }
    let mut figures = Figures::new("cpu-prefill");
    for ((isa, ours, pair), before) in engines.iter_mut().zip(bounds) {
        let bounds = before.again(ours)?;
        let prefix =
            if *isa == best { "q4k_prefill".to_owned() } else { format!("q4k_prefill_{}", isa.name()) };
        pair.figures(&mut figures, &prefix)?;
        let spans = ours.profiled(|ours| ours.prefill(args.tokens, args.step))?;
        let macs: u64 = spans.iter().map(|(_, span)| span.work.multiplications).sum();
        let seconds = args.tokens as f64 / pair.medians().0;
        figures.add(&format!("{prefix}_of_bound"), macs as f64 / seconds / bounds.macs, "ratio")?;
        let title = format!("{} tokens on {}", args.tokens, isa.name());
        profile_table(&title, &spans, ours.layers(), 1, bounds)?;
    }
    writeln!(std::io::stdout(), "model: {}", model.path.display())?;
    figures.write()
}
