//! The samples of one window of a series, until it closes.

use efd_shared_model::UtcNanos;
use efd_shared_stats::{Kernel, Summary};

/// Values wait as `f32` where that is what they are, as most of SAL's telemetry is: half the memory.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    times: Vec<UtcNanos>,
    fields: Vec<Values>,
}

#[derive(Clone, Debug)]
enum Values {
    Narrow(Vec<f32>),
    Wide(Vec<f64>),
}

impl Values {
    fn push(&mut self, values: &[f64]) {
        if let Self::Narrow(narrow) = self {
            let survives = |value: &f64| f64::from(*value as f32).to_bits() == value.to_bits();
            if values.iter().all(survives) {
                return narrow.extend(values.iter().map(|&value| value as f32));
            }
            *self = Self::Wide(narrow.iter().map(|&value| f64::from(value)).collect());
        }
        if let Self::Wide(wide) = self {
            wide.extend_from_slice(values);
        }
    }

    fn put(&self, row: usize, elements: usize, out: &mut Vec<f64>) {
        let part = row * elements..(row + 1) * elements;
        match self {
            Self::Narrow(values) => out.extend(values[part].iter().map(|&value| f64::from(value))),
            Self::Wide(values) => out.extend_from_slice(&values[part]),
        }
    }
}

impl Samples {
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Of a series whose fields have so many elements; `values` has all of them.
    pub fn push(&mut self, time: UtcNanos, values: &[f64], shape: &[u32]) {
        self.times.push(time);
        self.fields
            .resize_with(shape.len(), || Values::Narrow(Vec::new()));
        let mut rest = values;
        for (field, &elements) in self.fields.iter_mut().zip(shape) {
            let (of_field, others) = rest.split_at(elements as usize);
            field.push(of_field);
            rest = others;
        }
    }

    /// Of each channel, appended to `out`. `scratch` is memory to work in.
    pub fn summarise(
        &self,
        shape: &[u32],
        kernel: &mut Kernel,
        scratch: &mut Vec<f64>,
        out: &mut Vec<Summary>,
    ) {
        let mut order: Vec<usize> = (0..self.times.len()).collect();
        // Those of one time stay as they came.
        order.sort_by_key(|&row| self.times[row]);
        scratch.clear();
        for row in order {
            for (field, &elements) in self.fields.iter().zip(shape) {
                field.put(row, elements as usize, scratch);
            }
        }
        let width = shape.iter().map(|&elements| elements as usize).sum();
        kernel.rows(scratch, width, out);
    }

    /// Memory that it occupies, about.
    pub fn bytes(&self) -> usize {
        let of_fields = self.fields.iter().map(|field| match field {
            Values::Narrow(values) => values.capacity() * size_of::<f32>(),
            Values::Wide(values) => values.capacity() * size_of::<f64>(),
        });
        let of_times = self.times.capacity() * size_of::<UtcNanos>();
        of_times + of_fields.sum::<usize>() + self.fields.len() * size_of::<Values>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However they came, the summaries are those of the kernel over the rows in the order of time.
        #[test]
        fn as_the_kernel_says(
            rows in prop::collection::vec((0..50i64, prop::array::uniform4(prop_oneof![
                any::<f32>().prop_map(f64::from), -1e3..1e3f64, Just(f64::NAN), Just(-0.0),
            ])), 1..60),
        ) {
            let shape = [1, 3];
            let mut samples = Samples::default();
            for (time, values) in &rows {
                samples.push(UtcNanos(*time), values, &shape);
            }
            let (mut kernel, mut found, mut expected) = (Kernel::new(), Vec::new(), Vec::new());
            samples.summarise(&shape, &mut kernel, &mut Vec::new(), &mut found);
            let mut sorted = rows.clone();
            sorted.sort_by_key(|(time, _)| *time);
            let flat: Vec<f64> = sorted.iter().flat_map(|(_, values)| *values).collect();
            kernel.rows(&flat, 4, &mut expected);
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
            prop_assert_eq!(samples.len(), rows.len());
        }
    }
}
