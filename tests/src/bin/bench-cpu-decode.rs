//! Decode at batch 1 beside llama.cpp, the two engines taking turns in one run on the same file, medians: SmolLM2 in
//! Q4_1, and generated models in Q4_K and Q8_0, the first of them at a depth of 8192 too. Then our own speed at several
//! depths and numbers of streams, where a step's time goes, and what it costs that additions have one order. Neither
//! engine samples; both are fed the same kind of fixed tokens.
//!
//! Deep contexts are filled by a prefill of as many tokens, once, in both engines; each round then decodes from there
//! and is forgotten.

use std::io::Write;

use anyhow::Result;
use clap::Parser;
use weighbridge_inference_server::backend::cpu::AdditionOrder;
use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::server::config::DECODER_STEP;
use weighbridge_tests::cpu::{
    Bounds, Common, Model, Ours, Pair, Peer, generated, header, profile_table, sample_model,
};
use weighbridge_tests::figures::Figures;

/// Measures decode beside llama.cpp.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Parts to run.
    #[arg(long, value_delimiter = ',', default_value = "smollm2,q4k,q8,long,table,invariance")]
    parts: Vec<String>,
    /// Another model in place of all parts.
    #[arg(long)]
    model: Option<std::path::PathBuf>,
    /// Tokens before the ones that are timed.
    #[arg(long, default_value_t = 16)]
    depth: usize,
    /// Tokens before the ones that are timed in the part `long`.
    #[arg(long, default_value_t = 8192)]
    long_depth: usize,
    /// Tokens decoded one by one in a round.
    #[arg(long, default_value_t = 128)]
    tokens: usize,
    /// Tokens of SmolLM2's prefill.
    #[arg(long, default_value_t = 512)]
    prefill: usize,
    /// Streams of the table's rows.
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,64")]
    streams: Vec<usize>,
    /// Depths of the table's columns, ascending.
    #[arg(long, value_delimiter = ',', default_value = "0,2048,8192")]
    depths: Vec<usize>,
    /// Tokens that each stream decodes for a cell of the table.
    #[arg(long, default_value_t = 16)]
    table_tokens: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut figures = Figures::new("cpu-decode");
    if let Some(path) = &args.model {
        side_by_side(&args, &Model { path: path.clone(), name: "model".to_owned() }, true, &mut figures)?;
        return figures.write();
    }
    let has = |part: &str| args.parts.iter().any(|one| one == part);
    if has("smollm2") {
        side_by_side(&args, &sample_model()?, true, &mut figures)?;
    }
    if has("q4k") {
        let model = generated(&args.common, TensorType::Q4K, "q4k")?;
        side_by_side(&args, &model, false, &mut figures)?;
    }
    if has("q8") {
        let model = generated(&args.common, TensorType::Q8_0, "q8")?;
        side_by_side(&args, &model, false, &mut figures)?;
    }
    if has("long") {
        long(&args, &generated(&args.common, TensorType::Q4K, "long")?, &mut figures)?;
    }
    if has("table") {
        table(&args, &generated(&args.common, TensorType::Q4K, "q4k")?, &mut figures)?;
    }
    if has("invariance") {
        price_of_invariance(&args, &generated(&args.common, TensorType::Q4K, "q4k")?, &mut figures)?;
    }
    figures.write()
}

/// Both engines on one model.
fn side_by_side(args: &Args, model: &Model, with_prefill: bool, figures: &mut Figures) -> Result<()> {
    let positions = (args.depth + args.tokens).max(args.prefill);
    let mut ours = Ours::load(model, &args.common, None, 1, positions)?;
    let mut peer = Peer::start(model, &args.common, positions)?;
    header(&ours, &peer)?;
    let bounds = Bounds::measure(&mut ours)?;
    let (mut decode, mut prefill) = (Pair::default(), Pair::default());
    for _ in 0..args.common.rounds {
        ours.fill(args.depth)?;
        decode.add("decode", ours.decode(args.depth, args.tokens)?, peer.decode(args.depth, args.tokens)?)?;
        if with_prefill {
            prefill.add("prefill", ours.prefill(args.prefill, DECODER_STEP)?, peer.prefill(args.prefill)?)?;
        }
    }
    decode.figures(figures, &format!("{}_decode", model.name))?;
    if with_prefill {
        prefill.figures(figures, &format!("{}_prefill", model.name))?;
    }
    ours.fill(args.depth)?;
    let bounds = bounds.again(&mut ours)?;
    let spans = ours.profiled(|ours| ours.decode(args.depth, args.tokens))?;
    let title = format!("{} at depth {}", model.name, args.depth);
    profile_table(&title, &spans, ours.layers(), args.tokens, bounds)
}

/// Both engines deep in a context.
fn long(args: &Args, model: &Model, figures: &mut Figures) -> Result<()> {
    let positions = args.long_depth + args.tokens;
    let mut ours = Ours::load(model, &args.common, None, 1, positions)?;
    let mut peer = Peer::start(model, &args.common, positions)?;
    header(&ours, &peer)?;
    let bounds = Bounds::measure(&mut ours)?;
    ours.fill(args.long_depth)?;
    peer.fill(args.long_depth)?;
    let mut decode = Pair::default();
    let what = format!("decode at depth {}", args.long_depth);
    for _ in 0..args.common.rounds {
        decode.add(&what, ours.decode(args.long_depth, args.tokens)?, peer.go_on(args.tokens)?)?;
    }
    decode.figures(figures, "long_decode")?;
    let bounds = bounds.again(&mut ours)?;
    let spans = ours.profiled(|ours| ours.decode(args.long_depth, args.tokens))?;
    let title = format!("{} at depth {}", model.name, args.long_depth);
    profile_table(&title, &spans, ours.layers(), args.tokens, bounds)
}

/// Our speed by streams and depth. Every stream has keys and values of its own: copies of the first's.
fn table(args: &Args, model: &Model, figures: &mut Figures) -> Result<()> {
    let most = args.streams.iter().copied().max().unwrap_or(1);
    let deepest = args.depths.iter().copied().max().unwrap_or(0);
    let tokens = args.table_tokens;
    let mut ours = Ours::load(model, &args.common, None, most, deepest + tokens)?;
    // Deeper ones hold the shallower.
    ours.fill(deepest)?;
    ours.spread(most);
    let mut rows = Vec::new();
    for &streams in &args.streams {
        let mut cells = Vec::new();
        for &depth in &args.depths {
            let mut pair = Vec::new();
            for _ in 0..args.common.rounds.min(3) {
                pair.push(ours.decode_streams(streams, depth, tokens)?);
            }
            let speed = weighbridge_tests::figures::median(&mut pair);
            figures.add(&format!("decode_{streams}_streams_depth_{depth}"), speed, "tokens/s")?;
            cells.push(format!("{speed:>12.1}"));
        }
        rows.push(format!("{streams:>8} {}", cells.join(" ")));
    }
    let mut out = std::io::stdout();
    let depths: Vec<String> = args.depths.iter().map(|depth| format!("{depth:>12}")).collect();
    writeln!(out, "\nours, tokens/s of all streams together, by depth ({})", model.path.display())?;
    writeln!(out, "{:>8} {}\n{}\n", "streams", depths.join(" "), rows.join("\n"))?;
    Ok(())
}

/// What batch invariance costs one stream: the share of its speed that it would gain if attention added up in whatever order
/// a step's tasks happen to have. All else has one order by the way it is computed.
fn price_of_invariance(args: &Args, model: &Model, figures: &mut Figures) -> Result<()> {
    let deepest = args.depths.iter().copied().max().unwrap_or(0);
    let load = |order| -> Result<Ours> {
        let mut ours = Ours::load_ordered(model, &args.common, order, deepest + args.tokens)?;
        ours.fill(deepest)?;
        Ok(ours)
    };
    let (mut fixed, mut free) = (load(AdditionOrder::Fixed)?, load(AdditionOrder::Free)?);
    for &depth in &args.depths {
        let mut prices = Vec::new();
        for _ in 0..args.common.rounds {
            let speeds = (fixed.decode(depth, args.tokens)?, free.decode(depth, args.tokens)?);
            prices.push(1.0 - speeds.0 / speeds.1);
        }
        let price = weighbridge_tests::figures::median(&mut prices);
        figures.add(&format!("batch_invariance_price_depth_{depth}"), price, "ratio")?;
    }
    Ok(())
}
