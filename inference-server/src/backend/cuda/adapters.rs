//! Adapters on the card: for each matrix that any of them adds to, what each has there.

use std::collections::HashMap;

use weighbridge_cuda::device::{Device, DeviceError};
use weighbridge_cuda::launch::Address;
use weighbridge_cuda::operations::Adapter as Entry;

use crate::kernels::packed::PackedMatrix;
use crate::model::adapter::{Adapter, Point};

/// A product that adapters add to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) layer: usize,
    pub(super) point: Point,
}

/// One matrix of a product, with what adapters have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// An entry for each adapter.
    pub(super) adapters: Address,
    /// The matrix' first column of the product's result.
    pub(super) column: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct AdapterTables {
    tables: HashMap<Target, Vec<Table>>,
    /// The largest rank.
    pub(super) rank: usize,
}

/// Bytes that `adapters` take on a card, and the largest rank.
pub(super) fn size_of_all(adapters: &[Adapter]) -> (u64, usize) {
    let (mut bytes, mut rank) = (0, 0);
    for adapter in adapters {
        for addition in
            (0..adapter.layers()).flat_map(|layer| Point::ALL.map(|point| adapter.at(layer, point))).flatten()
        {
            let (a, b) = (addition.a.layout(), addition.b.layout());
            let floats = a.rows() * a.columns() + b.rows() * b.columns();
            // Each in memory of its own, in the driver's pages at worst, with a table of all adapters.
            bytes += (4 * floats + size_of::<Entry>() * adapters.len()).next_multiple_of(512) as u64 + 1024;
            rank = rank.max(a.rows());
        }
    }
    (bytes, rank)
}

impl AdapterTables {
    /// What adapters have for the product at `target`.
    pub(super) fn at(&self, target: Target) -> &[Table] {
        self.tables.get(&target).map_or(&[], Vec::as_slice)
    }

    /// Copies `adapters` to the card.
    pub(super) fn load(device: &mut dyn Device, adapters: &[Adapter]) -> Result<Self, DeviceError> {
        let mut tables = Self { rank: size_of_all(adapters).1, ..Self::default() };
        let layers = adapters.iter().map(Adapter::layers).max().unwrap_or(0);
        for layer in 0..layers {
            for point in Point::ALL {
                let target = Target { layer, point };
                for table in tables_of(device, adapters, target)? {
                    tables.tables.entry(target).or_default().push(table);
                }
            }
        }
        Ok(tables)
    }
}

/// The tables of one product: a matrix is known by its first column.
fn tables_of(
    device: &mut dyn Device,
    adapters: &[Adapter],
    target: Target,
) -> Result<Vec<Table>, DeviceError> {
    let mut found: Vec<(usize, usize, usize, Vec<Entry>)> = Vec::new();
    for (index, adapter) in adapters.iter().enumerate() {
        for addition in adapter.at(target.layer, target.point) {
            let (down, up) = (addition.a.layout(), addition.b.layout());
            let entry = Entry {
                down: device.allocate_with(&floats(&addition.a))?,
                up: device.allocate_with(&turned(&floats(&addition.b), up.columns()))?,
                rank: down.rows() as u32,
                scale: addition.scale,
            };
            let known = found.iter_mut().find(|(column, ..)| *column == addition.column);
            let entries = match known {
                Some((.., entries)) => entries,
                None => {
                    let entries = vec![Entry::default(); adapters.len()];
                    found.push((addition.column, up.rows(), down.columns(), entries));
                    match found.last_mut() {
                        Some((.., entries)) => entries,
                        None => continue,
                    }
                }
            };
            entries[index] = entry;
        }
    }
    let table = |(column, rows, columns, entries): (usize, usize, usize, Vec<Entry>)| {
        Ok(Table { adapters: device.allocate_with(&entries)?, column, rows, columns })
    };
    found.into_iter().map(table).collect()
}

fn floats(matrix: &PackedMatrix) -> Vec<f32> {
    let (rows, columns) = (matrix.layout().rows(), matrix.layout().columns());
    let mut values = vec![0.0; rows * columns];
    values
        .chunks_exact_mut(columns.max(1))
        .enumerate()
        .for_each(|(row, out)| matrix.dequantize_row(row, out));
    values
}

/// `[rows, columns]` as `[columns, rows]`.
fn turned(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns.max(1);
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}
