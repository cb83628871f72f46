//! Families of metrics as the text format has them. Knows no particular metric.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::totals::{BOUNDS, Times};

/// Label names and values, without an allocation.
struct Labels<'a, const N: usize>([(&'static str, &'a str); N]);

impl<const N: usize> EncodeLabelSet for Labels<'_, N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

/// Writes families of one type.
pub(super) struct Families<'a>(DescriptorEncoder<'a>);

impl<'a> Families<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut self.0.encode_descriptor(name, help, None, kind)?)
    }

    /// A family of counters; the encoder appends `_total` to its name.
    pub(super) fn counters<'s, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'static str, &'s str); N], u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |metric| {
            for (labels, count) in series {
                metric.encode_family(&Labels(labels))?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
            Ok(())
        })
    }

    /// A counter of seconds.
    pub(super) fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |metric| {
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    pub(super) fn gauges<'s, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'static str, &'s str); N], f64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, |metric| {
            for (labels, value) in series {
                let labels = Labels(labels);
                let mut metric = metric.encode_family(&labels)?;
                // Whole numbers without `.0`, as other programs write them; all are far below 2^53.
                match value.fract() == 0.0 {
                    true => metric.encode_gauge(&(value as i64))?,
                    false => metric.encode_gauge(&value)?,
                }
            }
            Ok(())
        })
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, [([], value)])
    }

    pub(super) fn histograms<'s>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (&'s str, &'s Times)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, |metric| {
            for (account, times) in series {
                let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
                let buckets: Vec<_> = bounds.zip(times.buckets).collect();
                let (sum, count) = (times.sum_micros as f64 / 1e6, times.count());
                metric
                    .encode_family(&Labels([("account", account)]))?
                    .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
            }
            Ok(())
        })
    }
}
