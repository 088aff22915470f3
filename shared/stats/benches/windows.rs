//! Values a second, all statistics, one core: windows of one second at 50 Hz, as M1M3 has them, and of ten.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use efd_shared_model::UtcNanos;
use efd_shared_stats::{Kernel, Resolution, Windows};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Elements of all of M1M3's telemetry.
const WIDTH: usize = 3888;

fn rows(rows: usize, width: usize) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(1);
    let value = || 1000.0 + rng.random_range(-1.0..1.0);
    std::iter::repeat_with(value).take(rows * width).collect()
}

fn kernel(c: &mut Criterion) {
    let mut group = c.benchmark_group("stats");
    for (name, count, width) in [
        ("kernel/50 rows of 3888", 50, WIDTH),
        ("kernel/50 rows of 169", 50, 169),
        ("kernel/50 rows of 3", 50, 3),
        ("kernel/10 rows of 169", 10, 169),
        ("kernel/500 rows of 169", 500, 169),
        ("kernel/15000 rows of 169", 15_000, 169),
    ] {
        let values = rows(count, width);
        let (mut kernel, mut out) = (Kernel::new(), Vec::new());
        group.throughput(Throughput::Elements(values.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                kernel.rows(&values, width, &mut out);
            });
        });
    }
    let (values, mut kernel) = (rows(50, 169), Kernel::new());
    group.throughput(Throughput::Elements(values.len() as u64));
    group.bench_function("windows/a second of 169 columns at 50 Hz", |b| {
        b.iter_batched_ref(
            || Windows::new(Resolution::SECOND, 169, 1000),
            |windows| {
                for (index, row) in values.chunks_exact(169).enumerate() {
                    windows.push(UtcNanos(index as i64 * 20_000_000), row);
                }
                windows.close(UtcNanos(1_000_000_000), &mut kernel, |_| ());
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, kernel);
criterion_main!(benches);
