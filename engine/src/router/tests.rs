//! The precedence, sentence by sentence, and agreement with `naive`.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn agrees_with_the_naive_router(data in proptest::collection::vec(any::<u8>(), 0..700)) {
        naive::check_bytes(&data);
    }
}
