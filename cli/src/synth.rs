//! `weighbridge synth`: a model with random weights, for benchmarks and tests.

use std::path::Path;
use std::time::Instant;

use weighbridge_inference_server::gguf::TensorType;
use weighbridge_inference_server::synth::{
    E4m3, Family, Format, Rope, SHAPES, Shape, SynthError, SynthSpec, WriteOptions, tensor_type,
};

use crate::args::SynthArgs;
use crate::terminal::Terminal;

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A name that nothing has.
    #[error("--{flag} {value}: there is none; there are {known}")]
    Unknown {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What could be.
        known: String,
    },
    /// The model can't be made.
    #[error("--{0}")]
    Field(SynthError),
    /// It can't be written.
    #[error(transparent)]
    Write(SynthError),
    /// stdout is gone.
    #[error("can't write to stdout")]
    Print(#[source] std::io::Error),
}

/// Makes a model and prints where it is.
///
/// # Errors
/// A flag that makes no model, or a place that can't be written.
pub fn synth(args: &SynthArgs, terminal: &Terminal) -> Result<(), MakeError> {
    let spec = spec(args)?;
    let options = WriteOptions { force: args.force, threads: args.threads };
    let began = Instant::now();
    let made = spec.write(&args.output, options).map_err(|error| match error {
        error @ SynthError::Field { .. } => MakeError::Field(error),
        error => MakeError::Write(error),
    })?;
    let seconds = began.elapsed().as_secs_f64();
    terminal.note(&format!(
        "{} of {:.3} billion parameters, {:.1} MB, seed {}, in {seconds:.1} s",
        spec.family.name(),
        made.parameters as f64 / 1e9,
        made.bytes as f64 / 1e6,
        spec.seed,
    ));
    terminal.print(&format!("{}\n", made.path.display())).map_err(MakeError::Print)
}

fn spec(args: &SynthArgs) -> Result<SynthSpec, MakeError> {
    let families = || Family::ALL.map(Family::name).join(", ");
    let family = Family::named(&args.family).ok_or_else(|| unknown("family", &args.family, families()))?;
    let shapes = || SHAPES.map(|(name, _)| name).join(", ");
    let shape = Shape::named(&args.shape, family).ok_or_else(|| unknown("shape", &args.shape, shapes()))?;
    let format = format_of(&args.output);
    let e4m3 = args.matrices.as_deref().and_then(E4m3::named);
    let matrices = match &args.matrices {
        // Of what is left beside them.
        Some(_) if e4m3.is_some() => TensorType::BF16,
        Some(name) => kind("matrices", name)?,
        None if format == Format::Gguf => TensorType::Q4K,
        None => TensorType::BF16,
    };
    let kinds = || Rope::ALL.map(Rope::name).join(", ");
    let rope = Rope::named(&args.rope).ok_or_else(|| unknown("rope", &args.rope, kinds()))?;
    let shape = Shape { rope, ..changed(shape, args) };
    let mut spec = SynthSpec::new(family, shape, format, matrices);
    if let Some(name) = &args.embeddings {
        spec.embeddings = kind("embeddings", name)?;
    }
    Ok(SynthSpec {
        e4m3,
        reranker: args.reranker,
        shards: args.shards,
        seed: args.seed,
        tokenizer: !args.no_tokenizer,
        ..spec
    })
}

/// A name that ends in `.gguf` is a file, every other a folder.
fn format_of(output: &Path) -> Format {
    match output.extension() {
        Some(ending) if ending.eq_ignore_ascii_case("gguf") => Format::Gguf,
        _ => Format::Safetensors,
    }
}

/// `shape` with the dimensions that were given; those that follow from one of them follow it.
fn changed(shape: Shape, args: &SynthArgs) -> Shape {
    let embedding = args.embedding.unwrap_or(shape.embedding);
    let heads = args.heads.unwrap_or(shape.heads);
    let is_encoder = shape.kv_heads == shape.heads;
    let kv_heads = args.kv_heads.unwrap_or(if is_encoder { heads } else { shape.kv_heads.min(heads) });
    let head = match args.head {
        Some(head) => head,
        None if args.embedding.is_some() || args.heads.is_some() => embedding / heads.max(1),
        None => shape.head,
    };
    let feed_forward = args.feed_forward.unwrap_or(shape.feed_forward);
    let expert = if shape.experts > 0 { feed_forward } else { shape.expert_feed_forward };
    Shape {
        layers: args.layers.unwrap_or(shape.layers),
        embedding,
        heads,
        kv_heads,
        head,
        feed_forward,
        vocabulary: args.vocabulary.unwrap_or(shape.vocabulary),
        context: args.context.unwrap_or(shape.context),
        experts: args.experts.unwrap_or(shape.experts),
        experts_used: args.experts_used.unwrap_or(shape.experts_used),
        expert_feed_forward: args.expert_feed_forward.unwrap_or(expert),
        window: args.window.or(shape.window),
        rope_base: args.rope_base.unwrap_or(shape.rope_base),
        rope: shape.rope,
        tied: args.tied.unwrap_or(shape.tied),
    }
}

fn kind(flag: &'static str, name: &str) -> Result<TensorType, MakeError> {
    let known = || {
        let e4m3 = E4m3::ALL.into_iter().filter(|_| flag == "matrices").map(|e4m3| e4m3.name().to_owned());
        let names = TensorType::ALL.into_iter().map(|kind| kind.name().to_lowercase()).chain(e4m3);
        names.collect::<Vec<_>>().join(", ")
    };
    tensor_type(name).ok_or_else(|| unknown(flag, name, known()))
}

fn unknown(flag: &'static str, value: &str, known: String) -> MakeError {
    MakeError::Unknown { flag, value: value.to_owned(), known }
}
