//! A written pass over the step that was uploaded: each operation as launches, which depend on the step's shape alone.

mod attend;
mod feed;

use weighbridge_cuda::device::{Device, DeviceError, Gemm};
use weighbridge_cuda::form::{Form, Matrix, input_stride};
use weighbridge_cuda::launch::Address;
use weighbridge_cuda::operations::{
    Embed, Lora, Normalize, Product, RotaryTable, add_bias, cap_rows, expand, gather_rows,
};

use super::adapters::{AdapterTables, Target};
use super::inputs::Shape;
use super::memory::Layout;
use super::program::{NormPlan, Operation, Products, Program, Vector};

/// Rows of prompts up to which our own kernels multiply: there, reading packed weights is what takes the time.
const LIBRARY_ROWS: usize = 64;

/// Where everything lies.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) weights: Address,
    pub(super) vectors: Address,
    pub(super) frequencies: Address,
    /// Keys of the first layer; values follow, then the next layer's.
    pub(super) cache: Address,
    /// Bytes of one layer's keys, or values.
    pub(super) layer_bytes: u64,
    pub(super) scratch: Address,
    pub(super) inputs: Address,
    pub(super) layout: Layout,
    pub(super) adapters: AdapterTables,
}

/// One run of a program.
pub(super) struct Execution<'a> {
    device: &'a mut dyn Device,
    program: &'a Program,
    memory: &'a Memory,
    shape: &'a Shape,
    /// Rows that are still computed.
    rows: usize,
    /// Where the stream is now, what was attended, and the rows' adapters.
    stream: Address,
    attended: Address,
    of_row: Address,
}

/// A product's input.
#[derive(Clone, Copy, Debug)]
struct Input {
    at: Address,
    stride: usize,
}

/// Where a product goes.
#[derive(Clone, Copy, Debug)]
struct Out {
    at: Address,
    stride: usize,
    add: bool,
}

impl<'a> Execution<'a> {
    /// A run over the step of `shape` that lies in the inputs.
    pub(super) fn new(
        device: &'a mut dyn Device,
        program: &'a Program,
        memory: &'a Memory,
        shape: &'a Shape,
    ) -> Self {
        let at = |address: Address| memory.scratch.offset(address.0);
        let (stream, attended) = (at(memory.layout.scratch.stream), at(memory.layout.scratch.attended));
        let of_row = memory.inputs.offset(memory.layout.inputs.adapters.0);
        Self { device, program, memory, shape, rows: shape.rows, stream, attended, of_row }
    }

    /// Everything up to the input of the head, and with `logits` these too.
    pub(super) fn run(&mut self, logits: bool) -> Result<(), DeviceError> {
        self.turn()?;
        let program = self.program;
        for operation in &program.operations {
            if self.rows == 0 {
                // Keys and values are stored, and no row's logits are wanted.
                break;
            }
            match operation {
                Operation::Embed { table, scale } => self.embed(table, *scale)?,
                Operation::Normalize(norm) => self.normalize(norm)?,
                Operation::Attend(attend) => self.attend(attend)?,
                Operation::KeepWanted => self.keep_wanted()?,
                Operation::AddAttended { layer, output, bias, norm } => {
                    self.add_attended(*layer, output, *bias, norm.as_ref())?;
                }
                Operation::AddFeedForward { layer, gate_up, down, activation, norm } => {
                    self.add_feed_forward(*layer, gate_up, down, *activation, norm.as_ref())?;
                }
                Operation::AddExperts(mixture) => self.add_experts(mixture)?,
                Operation::Logits { head, soft_cap } => {
                    if logits {
                        self.logits(head, *soft_cap, 0, self.rows)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Logits of `count` rows from `first` on of those that are kept, into the first rows of the logits' place.
    pub(super) fn logits_of(&mut self, first: usize, count: usize) -> Result<(), DeviceError> {
        let program = self.program;
        for operation in &program.operations {
            if let Operation::Logits { head, soft_cap } = operation {
                self.logits(head, *soft_cap, first, count)?;
            }
        }
        Ok(())
    }

    fn logits(
        &mut self,
        head: &Matrix,
        cap: Option<f32>,
        first: usize,
        count: usize,
    ) -> Result<(), DeviceError> {
        let stride = input_stride(head.columns);
        let input = self.scratch(self.memory.layout.scratch.input).offset((first * stride * 2) as u64);
        let out = self.scratch(self.memory.layout.scratch.logits);
        let head = self.weights(head);
        let product = Product {
            weights: &head,
            input,
            input_stride: stride,
            tokens: count,
            out,
            out_stride: head.rows,
            bias: Address::NULL,
            add: false,
            experts: None,
        };
        self.device.launch(&product.launch())?;
        match cap {
            Some(cap) => self.device.launch(&cap_rows(out, count, head.rows, cap)),
            None => Ok(()),
        }
    }

    fn scratch(&self, place: Address) -> Address {
        self.memory.scratch.offset(place.0)
    }

    fn input_place(&self, place: Address) -> Address {
        self.memory.inputs.offset(place.0)
    }

    fn weights(&self, matrix: &Matrix) -> Matrix {
        Matrix { at: self.memory.weights.offset(matrix.at.0), ..*matrix }
    }

    fn vector(&self, vector: Option<Vector>) -> Address {
        vector.map_or(Address::NULL, |Vector(at)| self.memory.vectors.offset((at * 4) as u64))
    }

    fn embedding(&self) -> usize {
        self.program.widths.embedding
    }

    /// The input of the products that read the stream.
    fn stream_input(&self) -> Input {
        Input { at: self.scratch(self.memory.layout.scratch.input), stride: input_stride(self.embedding()) }
    }

    fn embed(&mut self, table: &Matrix, scale: f32) -> Result<(), DeviceError> {
        let table = &self.weights(table);
        let ids = self.input_place(self.memory.layout.inputs.tokens);
        let embed = Embed { table, ids, rows: self.rows, out: self.stream, scale, add: false, first_id: 0 };
        self.device.launch(&embed.launch())
    }

    fn turn(&mut self) -> Result<(), DeviceError> {
        for index in 0..self.program.rotaries.len() {
            let table = self.rotary(index);
            if table.pairs > 0 {
                self.device.launch(&table.launch())?;
            }
        }
        Ok(())
    }

    /// The table of a rotary embedding: those of all lie one after another.
    fn rotary(&self, index: usize) -> RotaryTable {
        let rotary = &self.program.rotaries[index];
        let (scratch, before) = (&self.memory.layout.scratch, (4 * self.shape.rows * rotary.first) as u64);
        RotaryTable {
            positions: self.input_place(self.memory.layout.inputs.positions),
            rows: self.shape.rows,
            frequencies: self.memory.frequencies.offset((8 * rotary.first) as u64),
            pairs: rotary.pairs,
            magnitude: rotary.magnitude,
            cosines: self.scratch(scratch.cosines).offset(before),
            sines: self.scratch(scratch.sines).offset(before),
        }
    }

    fn normalize(&mut self, norm: &NormPlan) -> Result<(), DeviceError> {
        let Input { at, stride } = self.stream_input();
        let norm = self.norm(norm, self.stream, Address::NULL, false, at, stride);
        self.device.launch(&norm.launch())
    }

    /// Adds the branch, normalised, to the stream.
    fn add_branch(&mut self, norm: &NormPlan) -> Result<(), DeviceError> {
        let branch = self.scratch(self.memory.layout.scratch.branch);
        let norm = self.norm(norm, branch, self.stream, true, Address::NULL, 0);
        self.device.launch(&norm.launch())
    }

    fn norm(
        &self,
        norm: &NormPlan,
        input: Address,
        out: Address,
        add: bool,
        rounded: Address,
        rounded_stride: usize,
    ) -> Normalize {
        Normalize {
            input,
            rows: self.rows,
            columns: self.embedding(),
            weight: self.vector(Some(norm.weight)),
            bias: self.vector(norm.bias),
            layer: norm.layer,
            epsilon: norm.epsilon,
            out,
            add,
            rounded,
            rounded_stride,
        }
    }

    fn keep_wanted(&mut self) -> Result<(), DeviceError> {
        let Some(kept) = self.shape.kept else { return Ok(()) };
        let scratch = &self.memory.layout.scratch;
        let index = self.input_place(self.memory.layout.inputs.wanted);
        let (stream, attended) = (self.scratch(scratch.kept_stream), self.scratch(scratch.kept_attended));
        let attended_words = input_stride(self.program.widths.attended) / 2;
        let of_row = self.scratch(scratch.kept_adapters);
        if kept > 0 {
            self.device.launch(&gather_rows(self.stream, stream, index, kept, self.embedding()))?;
            self.device.launch(&gather_rows(self.attended, attended, index, kept, attended_words))?;
        }
        if kept > 0 && self.shape.adapted {
            self.device.launch(&gather_rows(self.of_row, of_row, index, kept, 1))?;
        }
        (self.stream, self.attended, self.of_row, self.rows) = (stream, attended, of_row, kept);
        Ok(())
    }

    /// The products of `products`, side by side.
    fn products(&mut self, products: &Products, input: Input, out: Address) -> Result<(), DeviceError> {
        let mut column = 0;
        for matrix in &products.matrices {
            let out = Out { at: out.offset((4 * column) as u64), stride: products.width, add: false };
            let bias = products.bias.map(|Vector(at)| Vector(at + column));
            self.product(matrix, input, out, bias)?;
            column += matrix.rows;
        }
        Ok(())
    }

    /// One product: by our own kernels where reading weights is what takes the time, else by the library. Rows that
    /// decode are never the library's, whose sums have an order that depends on what else is in the step.
    fn product(
        &mut self,
        matrix: &Matrix,
        input: Input,
        out: Out,
        bias: Option<Vector>,
    ) -> Result<(), DeviceError> {
        let (weights, bias) = (self.weights(matrix), self.vector(bias));
        let of_prompts = self.rows.saturating_sub(self.shape.decoding);
        if of_prompts <= LIBRARY_ROWS || !self.device.multiplies() {
            return self.own_product(&weights, input, out, bias, self.rows);
        }
        let decoding = self.rows - of_prompts;
        if decoding > 0 {
            self.own_product(&weights, input, out, bias, decoding)?;
        }
        let input = Input { at: input.at.offset((2 * decoding * input.stride) as u64), stride: input.stride };
        let out = Out { at: out.at.offset((4 * decoding * out.stride) as u64), ..out };
        self.library_product(&weights, input, out, bias, of_prompts)
    }

    fn own_product(
        &mut self,
        weights: &Matrix,
        input: Input,
        out: Out,
        bias: Address,
        tokens: usize,
    ) -> Result<(), DeviceError> {
        let product = Product {
            weights,
            input: input.at,
            input_stride: input.stride,
            tokens,
            out: out.at,
            out_stride: out.stride,
            bias,
            add: out.add,
            experts: None,
        };
        self.device.launch(&product.launch())
    }

    fn library_product(
        &mut self,
        weights: &Matrix,
        input: Input,
        out: Out,
        bias: Address,
        tokens: usize,
    ) -> Result<(), DeviceError> {
        let Matrix { form, rows, columns, at } = *weights;
        let plain = self.scratch(self.memory.layout.scratch.plain);
        for part in 0..form.parts() {
            // Plain already, row by row.
            let (at, stride) = match form {
                Form::Bf16 => (at, columns.next_multiple_of(form.tile_columns())),
                _ => (plain, input_stride(columns)),
            };
            if form != Form::Bf16 {
                self.device.launch(&expand(weights, part, plain, stride))?;
            }
            self.device.multiply(&Gemm {
                weights: at,
                input: input.at,
                out: out.at,
                rows,
                columns,
                tokens,
                stride,
                input_stride: input.stride,
                out_stride: out.stride,
                add: out.add || part > 0,
            })?;
        }
        if bias == Address::NULL {
            return Ok(());
        }
        self.device.launch(&add_bias(out.at, bias, tokens, rows, out.stride))
    }

    /// Adds up what all cards have at `at`: rows as wide as the stream.
    fn sum(&mut self, at: Address) -> Result<(), DeviceError> {
        if self.program.shard.is_alone() {
            return Ok(());
        }
        self.device.all_reduce(at, self.rows * self.embedding())
    }

    /// What adapters add to the product at `target`, whose result lies in `out`.
    fn adapt(
        &mut self,
        target: Target,
        input: Input,
        out: Address,
        stride: usize,
    ) -> Result<(), DeviceError> {
        if !self.shape.adapted {
            return Ok(());
        }
        let memory = self.memory;
        for addition in memory.adapters.at(target) {
            let lora = Lora {
                adapters: addition.adapters,
                of_row: self.of_row,
                rows: self.rows,
                input: input.at,
                columns: addition.columns,
                input_stride: input.stride,
                inner: self.scratch(memory.layout.scratch.adapter_inner),
                rank: memory.adapters.rank,
                out,
                out_stride: stride,
                out_column: addition.column,
                matrix_rows: addition.rows,
            };
            for launch in lora.launches() {
                self.device.launch(&launch)?;
            }
        }
        Ok(())
    }
}
