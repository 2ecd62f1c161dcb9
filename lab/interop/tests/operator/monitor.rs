//! `anabranch monitor` of our own stack.

use anabranch_interop::require;
use anabranch_interop::watcher::Watcher;
use serde_json::Value;

use crate::world::World;

#[test]
fn subflows_that_come_and_go_are_told_of_in_words_and_as_json() {
    if !require::lab() {
        return;
    }
    let world = World::new("[policy]\nkind = \"endpoints\"\n");
    let second = world.v4(1);
    let come_and_go = || {
        world.printed(&format!("endpoint add {second} subflow"));
        world.await_links(&[0, 1]);
        world.printed("endpoint flush");
        world.await_links(&[0]);
    };
    let (folder, control) = (world.folder.path(), world.control());
    let watcher = |name: &str, further: &[&str]| {
        Watcher::start(control.as_ref(), folder.join(name), further).unwrap()
    };
    let words = watcher("words", &[]);
    let from = format!("saddr4={second} ");
    words.watch(come_and_go, |printed| {
        let told = |event: &str| {
            let mut lines = printed.lines();
            lines.any(|it| it.starts_with(event) && it.contains(&from))
        };
        told("[SF_ESTABLISHED] token=") && told("[     SF_CLOSED] token=")
    });
    let json = watcher("json", &["--json"]);
    json.watch(come_and_go, |printed| {
        let told = |event: &str| {
            let mut all = printed.lines().map(|line| {
                let news: Value = serde_json::from_str(line).unwrap();
                news["event"].clone()
            });
            all.any(|it| {
                let local = it["local"].as_str().unwrap_or_default();
                it["event"] == event && local.starts_with(&format!("{second}:"))
            })
        };
        told("sf_established") && told("sf_closed")
    });
    world.finish();
}
