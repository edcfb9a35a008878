//! Connections that break at the worst moments: in the middle of a COPY, and around COMMIT, when it is open whether it took
//! effect.

use doorbuster::store::StoreReader;

use super::{
    proxy::{Cut, Proxy},
    scene::Scene,
};
use crate::support::postgres::Server;

#[test]
fn cut_in_the_middle_of_copy_and_around_commit() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let url = server.new_database();
    let through = server.url_at(proxy.port, url.rsplit_once('/').unwrap().1);
    let mut scene = Scene::open_through(server, url, through, |_| {});
    for (number, cut) in (1..).zip([Cut::InCopy, Cut::BeforeCommit, Cut::AfterCommit].into_iter().cycle().take(12)) {
        let before = scene.reader().cursor().unwrap();
        proxy.cut(cut);
        scene.wait("the line is cut", |_| proxy.cuts() == number);
        let reader = scene.reader();
        if cut == Cut::AfterCommit {
            assert!(reader.cursor().unwrap() > before, "it did commit");
        }
        scene.wait("the store follows again", |scene| {
            scene.store()["state"] == "following" && reader.cursor().unwrap() > before
        });
    }
    assert!(scene.process.log().contains("the store is back"), "{}", scene.process.log());
    scene.check();
}
