//! Decode beside a process that burns a core, ours and llama.cpp's, each over its own idle speed. The four take turns in
//! one run on the same generated Q4_K file, medians.

use anyhow::Result;
use clap::Parser;
use weighbridge_inference_server::gguf::TensorType;
use weighbridge_tests::cpu::{Common, Hog, Ours, Pair, Peer, generated, header};
use weighbridge_tests::figures::Figures;

/// Measures decode beside a busy neighbour.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Tokens before the ones that are timed.
    #[arg(long, default_value_t = 16)]
    depth: usize,
    /// Tokens decoded one by one in a round.
    #[arg(long, default_value_t = 64)]
    tokens: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let model = generated(&args.common, TensorType::Q4K, "q4k")?;
    let positions = args.depth + args.tokens;
    let mut ours = Ours::load(&model, &args.common, None, 1, positions)?;
    let mut peer = Peer::start(&model, &args.common, positions)?;
    header(&ours, &peer)?;
    let (mut idle, mut contended) = (Pair::default(), Pair::default());
    for _ in 0..args.common.rounds {
        let mut both = |pair: &mut Pair, what: &str| {
            ours.fill(args.depth)?;
            let mine = ours.decode(args.depth, args.tokens)?;
            pair.add(what, mine, peer.decode(args.depth, args.tokens)?)
        };
        both(&mut idle, "idle decode")?;
        let _hog = Hog::start()?;
        both(&mut contended, "contended decode")?;
    }
    let mut figures = Figures::new("cpu-contention");
    idle.figures(&mut figures, "idle_decode")?;
    contended.figures(&mut figures, "contended_decode")?;
    let ((quiet, peer_quiet), (busy, peer_busy)) = (idle.medians(), contended.medians());
    figures.add("contended_over_idle", busy / quiet, "ratio")?;
    figures.add("contended_over_idle_llama_cpp", peer_busy / peer_quiet, "ratio")?;
    figures.write()
}
