//! The same histories as a state machine whose failures shrink: any steps in any order, not only lives as they usually go.

use proptest::prelude::*;

use super::history::{History, SEGMENT_BYTES, Shape, Step};
use super::story::Story;
use crate::base::disk::simulated::Crash;

fn shape() -> impl Strategy<Value = Shape> {
    let body = prop_oneof![8 => 0u32..900, 2 => 4000u32..12_000, 1 => 20_000u32..120_000];
    (prop::collection::vec(body, 0..4), 1u8..4)
}

fn crash() -> impl Strategy<Value = Step> {
    prop_oneof![Just(Step::Crash(Crash::Process)), Just(Step::Crash(Crash::Power)), Just(Step::Close)]
}

fn step() -> impl Strategy<Value = Step> {
    let often = prop_oneof![Just(0u32), Just(200)];
    prop_oneof![
        10 => prop::collection::vec(shape(), 1..5).prop_map(Step::Append),
        2 => Just(Step::Rotate),
        2 => Just(Step::Idle),
        3 => (0u32..=1000).prop_map(Step::SaveFloor),
        3 => Just(Step::Tend),
        3 => (0u8..30).prop_map(Step::Read),
        1 => often.clone().prop_map(Step::FailSyncs),
        1 => often.clone().prop_map(Step::FailCalls),
        1 => often.prop_map(Step::Interrupt),
        1 => prop::option::of(0..3 * SEGMENT_BYTES).prop_map(Step::Free),
        1 => (0u64..60).prop_map(Step::StopAfter),
        1 => Just(Step::Evict),
        1 => (-2_000_000_000i64..2_000_000_000).prop_map(Step::SetClock),
        1 => any::<u64>().prop_map(Step::Flip),
        4 => prop::option::weighted(0.3, 0u64..30).prop_map(Step::Start),
        // The end of one life, and the next.
        3 => crash(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn any_steps_in_any_order_keep_the_promise(
        seed: u64, segments in 3u64..20, group_bytes in prop_oneof![Just(1usize), Just(2000), Just(1 << 20)],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let history = History { seed, segments, group_bytes, steps };
        let told = Story::new(history).tell();
        prop_assert!(told.is_ok(), "{told:?}");
    }
}
