use super::{instruction_sets, two_threads};
use weighbridge_kernels::peak::{int8_macs_per_second, read_bytes_per_second};

#[test]
fn bounds_are_numbers_on_every_instruction_set() {
    let mut pool = two_threads();
    for isa in instruction_sets() {
        let found = int8_macs_per_second(&mut pool, isa).unwrap();
        assert!(found.is_finite() && found > 1e6, "{}: {found}", isa.name());
    }
    let found = read_bytes_per_second(&mut pool).unwrap();
    assert!(found.is_finite() && found > 1e6, "{found}");
}
