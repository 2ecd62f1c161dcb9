//! `--rps`: processors that do the host's work with what comes from the TUN device.

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, Service};
use anabranch_kernel::rps;

/// What a server with such arguments has set, each queue of its device by itself, while bytes pass
/// both ways.
fn queues(arguments: &[&str]) -> Vec<u64> {
    let arguments = arguments.iter().map(|&it| it.to_owned()).collect();
    let scene = Scene::new(2, Service::Anabranch(arguments)).unwrap();
    let transfer = scene.transfer(scene.v4(0), &Plan::new(1, 8 * MIB, 8 * MIB));
    transfer.unwrap().assert_clean();
    let read = || rps::read("anabranch0").unwrap();
    let words = scene.topology.server.run(read);
    let number = |word: &String| u64::from_str_radix(&word.replace(',', ""), 16).unwrap();
    words.iter().map(number).collect()
}

#[test]
fn the_processors_that_are_named_do_the_work() {
    if require::lab() {
        assert_eq!(queues(&["--threads", "2", "--rps", "0"]), [1, 1]);
    }
}

#[test]
fn none_does_unless_a_thread_leaves_one() {
    if !require::lab() {
        return;
    }
    let processors = std::thread::available_parallelism().unwrap().get();
    let all = processors.to_string();
    let of_all = queues(&["--threads", &all]);
    assert_eq!(of_all, vec![0; processors]);
    assert_eq!(queues(&["--threads", "1", "--rps", "off"]), [0]);
    let spare = queues(&["--threads", "1"])[0].count_ones();
    assert_eq!(spare as usize, processors - 1);
}

#[test]
fn processors_that_are_not_there_are_refused_in_one_line() {
    if !require::lab() {
        return;
    }
    let service = Service::Anabranch(["--rps", "1000"].map(str::to_owned).to_vec());
    let refused = Scene::new(1, service).unwrap_err().to_string();
    assert_eq!(
        refused.matches("--rps: this machine does not have").count(),
        1,
        "{refused}"
    );
}
