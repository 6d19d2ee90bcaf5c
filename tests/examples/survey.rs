//! scratch
use engram_tests::sim::{Plan, run};
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    std::panic::set_hook(Box::new(|_| {}));
    let mut bad = 0;
    for seed in args[0]..args[1] {
        if let Err(told) = run(&Plan::whole(seed, args[2] as u32)).result {
            bad += 1;
            println!("{seed}: {}", told.chars().take(2600).collect::<String>().replace('\n', " "));
        }
    }
    println!("{bad} bad");
}
