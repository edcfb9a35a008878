mod support;
use support::house::House;
#[test]
fn it_opens() { let mut house = House::with_shards(4); house.restart(); }
