use super::Bitmap;

#[test]
fn runs_are_found_across_words_and_up_to_the_limit() {
    let mut bitmap = Bitmap::new(130);
    bitmap.add(60, 10);
    bitmap.add(128, 100);
    bitmap.set(1 << 40, true);
    assert_eq!((bitmap.next(0, true), bitmap.next(60, false)), (Some(60), Some(70)));
    assert_eq!((bitmap.next(70, true), bitmap.next(128, false)), (Some(128), None));
    assert_eq!((bitmap.next(130, true), bitmap.has(129), bitmap.has(130)), (None, true, false));
    bitmap.set(60, false);
    assert_eq!(bitmap.next(0, true), Some(61));
}
