//! Every metric of the program: name, kind and help, in one table.
//!
//! Labels are few and bounded: never a measurement, tag, client address or URL.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name as scraped.
    pub name: &'static str,
    /// What it counts.
    pub form: Form,
    /// For people.
    pub help: &'static str,
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution of seconds.
    Seconds,
}

/// The label of what each destination has for itself.
pub const DESTINATION: &str = "destination";

macro_rules! metrics_table {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $form:ident, $help:literal;)*) => {
        $(#[doc = $help] pub const $id: &str = $name;)*
        /// The whole table.
        pub const TABLE: &[Metric] = &[$(Metric { name: $name, form: Form::$form, help: $help },)*];
    };
}

metrics_table! {
    BUILD_INFO = "twinline_build_info", Gauge, "1, with the version as label.";
    HTTP_REQUESTS = "twinline_http_requests_total", Counter, "Answers to clients, by kind of request and status.";
    BODIES_BROKEN = "twinline_http_bodies_broken_total", Counter, "Bodies of writes that did not come whole, by how: ends, framing, late.";
    HTTP_CONNECTIONS = "twinline_http_connections", Gauge, "Client connections open.";
    PROXY_CLOSED = "twinline_http_proxy_header_closed_total", Counter, "Connections closed for want of a PROXY header to be believed, by why: empty, malformed, late, untrusted.";
    CLIENT_LIMITED = "twinline_http_client_limited_total", Counter, "Requests refused because their client was over its limits, by what was too many: requests, bytes.";
    UDP_DATAGRAMS = "twinline_udp_datagrams_total", Counter, "Datagrams that came.";
    UDP_LINES = "twinline_udp_lines_total", Counter, "Lines of datagrams that the source took.";
    UDP_DROPPED = "twinline_udp_dropped_lines_total", Counter, "Lines of datagrams that are lost, by why: unparsable, buffer-full, refused, failed, stopped.";
    UDP_KERNEL = "twinline_udp_kernel_dropped_datagrams_total", Counter, "Datagrams that the kernel dropped because they were not read in time.";
    INGEST_LINES = "twinline_ingest_lines_total", Counter, "Lines that parse in writes that arrived.";
    INGEST_BYTES = "twinline_ingest_bytes_total", Counter, "Bytes of write bodies that arrived, as sent.";
    WRITE_OUTCOMES = "twinline_write_outcomes_total", Counter, "Writes by what the source kept of them.";
    SOURCE_SECONDS = "twinline_source_ack_duration_seconds", Seconds, "Time the source took to answer a write.";
    OVERHEAD_SECONDS = "twinline_proxy_overhead_seconds", Seconds, "Time of a write that is ours: without the source's.";
    SOURCE_UP = "twinline_source_up", Gauge, "1 when the source answered last time.";
    CLOCK_OFFSET = "twinline_source_clock_offset_seconds", Gauge, "How far the source's clock is ahead of ours.";
    QUEUE_BYTES = "twinline_queue_size_bytes", Gauge, "Log from the lowest floor to its head.";
    QUEUE_DISK = "twinline_queue_disk_bytes", Gauge, "All segment files, prepared ones included.";
    QUEUE_LIMIT = "twinline_queue_limit_bytes", Gauge, "What all segment files may take.";
    QUEUE_USED = "twinline_queue_used_ratio", Gauge, "How much of the queue's room is used, 0 to 1.";
    QUEUE_UNTIL_FULL = "twinline_queue_until_full_seconds", Gauge, "Until the queue is full, as things go; +Inf while it does not grow.";
    QUEUE_RECORDS = "twinline_queue_records", Gauge, "Records above the lowest floor.";
    QUEUE_SEGMENTS = "twinline_queue_segments", Gauge, "Segment files in use.";
    QUEUE_LINES = "twinline_queue_lines", Gauge, "Accepted lines that wait for delivery.";
    QUEUE_COUNTING = "twinline_queue_counting", Gauge, "1 while what the queue held at the start is still being counted: the sums of lines are too small.";
    QUEUE_OLDEST = "twinline_queue_oldest_record_timestamp_seconds", Gauge, "Arrival of the oldest record not yet delivered; 0 without one.";
    QUEUE_FSYNC = "twinline_queue_fsync_duration_seconds", Seconds, "Time of one group commit.";
    QUEUE_FAULT = "twinline_queue_fault", Gauge, "1 when the log has failed and takes nothing.";
    SCRUB_BYTES = "twinline_queue_scrub_bytes_total", Counter, "Bytes of the log that were read to find damage, since the start.";
    SCRUB_LAST = "twinline_queue_scrub_last_pass_timestamp_seconds", Gauge, "End of the last pass through the log in search of damage; 0 without one.";
    SCRUB_DAMAGED = "twinline_queue_scrub_damaged_records_total", Counter, "Damaged records of the log that scrubbing found since the start. Must stay 0.";
    QUEUE_UNAVAILABLE = "twinline_queue_unavailable_total", Counter, "Writes that the queue did not take, by cause.";
    GAP_LINES = "twinline_queue_gap_lines_total", Counter, "Lines that went to the source alone since the start. Must stay 0.";
    OVERLAP_LINES = "twinline_overlap_lines_total", Counter, "Lines whose cell another write under way touched; they become doubt.";
    OVERLAP_UNLISTED = "twinline_overlap_unlisted_total", Counter, "Writes, and pieces of about 4 MiB of large ones, that did not fit into queue.overlap_lines and count as touching everything of their time. Must stay 0.";
    DOUBT_TOTAL = "twinline_doubt_lines_total", Counter, "Lines that became doubt since the start, by route of the source and cause; at most 256 routes, the rest is other.";
    DOUBT_ALARMS = "twinline_doubt_alarm_routes", Gauge, "Routes of which more than queue.doubt_alarm_percent of the lines are in doubt all the time. Must stay 0.";
    DIRTY_REGIONS = "twinline_dirty_regions", Gauge, "Regions that must be read back from the source.";
    MISSING_FIRST = "twinline_missing_first_timestamp_seconds", Gauge, "Earliest time of what a destination misses, by state: doubt, gap, dead-lettered; 0 where nothing is, -inf where it is not known.";
    MISSING_LAST = "twinline_missing_last_timestamp_seconds", Gauge, "Latest time of what a destination misses, by state: doubt, gap, dead-lettered; 0 where nothing is, inf where it is not known.";
    MISSING_LINES = "twinline_gap_lines", Gauge, "Lines that are in gaps of a destination, as far as their number is known. Must stay 0.";
    DOUBT_LINES = "twinline_doubt_lines", Gauge, "Lines whose fate at the source is not known.";
    READ_BACK_LINES = "twinline_read_back_lines", Gauge, "Lines that were in doubt or in gaps and were read back from the source, ever.";
    ATTEMPTS = "twinline_delivery_attempts_total", Counter, "Requests to the destination, by outcome.";
    READ_APART = "twinline_delivery_read_apart_total", Counter, "Lines that an InfluxDB could not read although we can: a bug, or unsigned integers at 1.x.";
    DELIVERED = "twinline_delivery_lines_total", Counter, "Lines that the destination took or refused for good since the start.";
    LAG = "twinline_delivery_lag_seconds", Gauge, "Age of the oldest line that is not delivered.";
    DEAD_LINES = "twinline_dead_letter_lines", Gauge, "Lines in the dead-letter store.";
    STATEMENTS = "twinline_statements_total", Counter, "Statements of the source that ran, or may have run, by what became of them: done, excluded, reported.";
    AROUND_POINTS = "twinline_source_around_points_total", Counter, "Points that came to the source other than through Twinline, by its own counters, since the start.";
    AROUND_WATCHED = "twinline_source_around_watched", Gauge, "1 while the source's counters are compared with what came through Twinline.";
    PAUSED = "twinline_delivery_paused", Gauge, "1 while the destination or a route of it is paused.";
}

/// Gives every metric its help text; call once, after the recorder is installed.
pub fn describe() {
    for metric in TABLE {
        match metric.form {
            Form::Counter => describe_counter!(metric.name, metric.help),
            Form::Gauge => describe_gauge!(metric.name, metric.help),
            Form::Seconds => describe_histogram!(metric.name, Unit::Seconds, metric.help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, TABLE};

    #[test]
    fn names_follow_the_conventions_and_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for metric in TABLE {
            assert!(metric.name.starts_with("twinline_") && seen.insert(metric.name), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.form == Form::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
