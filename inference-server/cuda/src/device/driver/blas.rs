//! cuBLASLt, where its library is found: products of plain matrices with many rows.

use std::collections::HashMap;
use std::ffi::c_void;

use cudarc::cublaslt::{result, sys};
use cudarc::driver;

use super::super::{DeviceError, Gemm};
use super::failed;

/// Bytes that an algorithm may use beside its operands: what NVIDIA says that Hopper's want.
const WORKSPACE: usize = 32 << 20;

/// What an algorithm is chosen by: rows, columns, tokens, three strides, and to what weights, input and result are aligned.
type Shape = (usize, usize, usize, usize, usize, usize, [u32; 3]);

/// The library's major version that the bindings are of.
const MAJOR: usize = 13;

/// The most that an algorithm asks of an address.
const MOST_ALIGNMENT: u32 = 256;

/// Bytes that `address` is a multiple of, a power of two.
fn alignment(address: u64) -> u32 {
    1 << address.trailing_zeros().min(MOST_ALIGNMENT.trailing_zeros())
}

pub(super) struct Blas {
    handle: sys::cublasLtHandle_t,
    description: sys::cublasLtMatmulDesc_t,
    workspace: driver::sys::CUdeviceptr,
    chosen: HashMap<Shape, Chosen>,
}

/// The layouts of a shape's operands, and the algorithm.
struct Chosen {
    weights: sys::cublasLtMatrixLayout_t,
    input: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Blas {
    /// Opens the library; `None` where it is not found.
    pub(super) fn open() -> Result<Option<Self>, DeviceError> {
        // SAFETY: loading a library runs its own code, as for every program that uses it.
        if !unsafe { sys::is_culib_present() } {
            return Ok(None);
        }
        // SAFETY: the library is there, and the call takes nothing.
        let version = unsafe { sys::cublasLtGetVersion() };
        let major = if version >= 100_000 { version / 10_000 } else { version / 1_000 };
        if major != MAJOR {
            let problem = format!("cuBLASLt is version {major} ({version}), and {MAJOR} is needed");
            return Err(DeviceError::Failed { act: "opening cuBLASLt", problem });
        }
        let handle = result::create_handle().map_err(refused)?;
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let description =
            result::create_matmul_desc(compute, sys::cudaDataType_t::CUDA_R_32F).map_err(refused)?;
        // `CUBLAS_OP_T`, which the bindings of this library leave out.
        let transposed = 1i32;
        // SAFETY: the attribute is one number of this type; cuBLASLt's matrices are by columns, so ours look turned.
        unsafe {
            result::set_matmul_desc_attribute(
                description,
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const transposed).cast::<c_void>(),
                size_of_val(&transposed),
            )
        }
        .map_err(refused)?;
        // SAFETY: freed when this is dropped.
        let workspace =
            unsafe { driver::result::malloc_sync(WORKSPACE) }.map_err(failed("reserving memory"))?;
        Ok(Some(Self { handle, description, workspace, chosen: HashMap::new() }))
    }

    pub(super) fn multiply(&mut self, gemm: &Gemm, stream: driver::sys::CUstream) -> Result<(), DeviceError> {
        let Gemm { weights, input, out, rows, columns, tokens, stride, input_stride, out_stride, add } =
            *gemm;
        let aligned = [weights, input, out].map(|address| alignment(address.0));
        let shape = (rows, columns, tokens, stride, input_stride, out_stride, aligned);
        if !self.chosen.contains_key(&shape) {
            let chosen = self.choose(shape)?;
            self.chosen.insert(shape, chosen);
        }
        let Some(chosen) = self.chosen.get(&shape) else { return Ok(()) };
        let (one, beta) = (1.0f32, if add { 1.0f32 } else { 0.0 });
        let at = |address: u64| address as *mut c_void;
        // SAFETY: handle, layouts and workspace live as long as this; the device trait's contract on addresses.
        unsafe {
            result::matmul(
                self.handle,
                self.description,
                (&raw const one).cast::<c_void>(),
                (&raw const beta).cast::<c_void>(),
                at(weights.0),
                chosen.weights,
                at(input.0),
                chosen.input,
                at(out.0),
                chosen.out,
                at(out.0),
                chosen.out,
                &raw const chosen.algorithm,
                at(self.workspace),
                WORKSPACE,
                stream.cast(),
            )
        }
        .map_err(refused)
    }

    /// Layouts and algorithm of a shape. By columns, the result is `[rows, tokens]`: weights turned, times the input.
    fn choose(&self, shape: Shape) -> Result<Chosen, DeviceError> {
        let (rows, columns, tokens, stride, input_stride, out_stride, [of_weights, of_input, of_out]) = shape;
        let (half, float) = (sys::cudaDataType_t::CUDA_R_16BF, sys::cudaDataType_t::CUDA_R_32F);
        let layout = |kind, rows: usize, columns: usize, stride: usize| {
            result::create_matrix_layout(kind, rows as u64, columns as u64, stride as i64).map_err(refused)
        };
        let weights = layout(half, columns, rows, stride)?;
        let input = layout(half, columns, tokens, input_stride)?;
        let out = layout(float, rows, tokens, out_stride)?;
        let preference = result::create_matmul_pref().map_err(refused)?;
        let most = WORKSPACE;
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let alignments = [
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, of_weights),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, of_input),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, of_out),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, of_out),
        ];
        // SAFETY: an attribute is one number of its type, and everything named is alive.
        let found = unsafe {
            let set = |attribute, value: *const c_void, bytes| {
                result::set_matmul_pref_attribute(preference, attribute, value, bytes)
            };
            let workspace = Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            let mut told = set(workspace, (&raw const most).cast(), size_of_val(&most));
            for (attribute, bytes) in &alignments {
                told = told.and_then(|()| set(*attribute, (&raw const *bytes).cast(), size_of::<u32>()));
            }
            let found = told.and_then(|()| {
                let (handle, description) = (self.handle, self.description);
                result::get_matmul_algo_heuristic(handle, description, weights, input, out, out, preference)
            });
            let _ = result::destroy_matmul_pref(preference);
            found
        };
        Ok(Chosen { weights, input, out, algorithm: found.map_err(refused)?.algo })
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: the device has waited for what ran, and nobody else has these.
        unsafe {
            for chosen in self.chosen.values() {
                for layout in [chosen.weights, chosen.input, chosen.out] {
                    let _ = result::destroy_matrix_layout(layout);
                }
            }
            let _ = result::destroy_matmul_desc(self.description);
            let _ = result::destroy_handle(self.handle);
            let _ = driver::result::free_sync(self.workspace);
        }
    }
}

fn refused(error: result::CublasError) -> DeviceError {
    DeviceError::Failed { act: "multiplying", problem: format!("cuBLASLt: {error:?}") }
}
