use std::{error, fmt};

use super::chain;

#[derive(Debug)]
struct Layer(&'static str, Option<Box<Layer>>);

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl error::Error for Layer {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.1.as_deref().map(|layer| layer as _)
    }
}

#[test]
fn a_chain_tells_each_cause_once() {
    let innermost = Layer("no space", None);
    let middle = Layer("writing a pack: no space", Some(Box::new(innermost)));
    let outer = Layer("backing up web-1", Some(Box::new(middle)));
    assert_eq!(chain(&outer), "backing up web-1: writing a pack: no space");
}
