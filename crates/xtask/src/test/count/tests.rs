use super::*;

#[test]
fn the_result_of_a_test_binary_is_counted() {
    let line =
        "test result: FAILED. 7 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s\n";
    assert_eq!(Count::of_line(line), Count { passed: 7, failed: 2 });
}

#[test]
fn the_summary_of_nextest_is_counted_with_everything_that_did_not_pass() {
    let line = "     Summary [   3.117s] 12/14 tests run: 8 passed (1 flaky, 1 slow, 1 leaky), 2 failed, 1 timed out, 3 skipped\n";
    assert_eq!(Count::of_line(line), Count { passed: 8, failed: 3 });
    assert_eq!(Count::of_line("     Summary [   0.004s] 1 test run: 1 passed, 0 skipped\n").passed, 1);
}

#[test]
fn what_tests_print_is_not_counted() {
    assert_eq!(Count::of_line("dry run: 5 passed, 0 failed\n"), Count::default());
    assert_eq!(Count::of_line("1 passed; 0 failed\n"), Count::default());
}
