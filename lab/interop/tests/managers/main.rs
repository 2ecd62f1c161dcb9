//! What becomes of connections under each path manager: Linux's own, mptcpd, and ours upon Linux's
//! connections (by its endpoints, and each by itself) and upon our own stack. The same scenes for
//! all; the server is always Linux alone, and it is there that subflows are counted. What was found
//! is the table of `docs/path-managers.md`, written anew with `ANABRANCH_UPDATE=1`.

mod manager;
mod scene;
mod table;

use anabranch_interop::require;
use manager::Manager;
use scene::SCENES;

#[test]
fn each_scene_under_each_manager() {
    if !require::lab() || !manager::mptcpd_is_there() {
        return;
    }
    let table = table::Table::read();
    let mut found = Vec::new();
    for scene in SCENES {
        for manager in Manager::ALL {
            let expected = table.expected(scene.name, manager);
            found.push((scene.name, manager, scene.run(manager, expected)));
        }
    }
    table.compare(&found);
}
