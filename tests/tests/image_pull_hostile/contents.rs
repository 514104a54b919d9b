//! Documents and layers that do not fit each other.

use serde_json::{Value, json};

use crate::case::{gzip, holds, layer, refused};
use crate::common::Tar;
use crate::documents::descriptor;
use crate::naive;
use crate::pull::{Content, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, config};

/// An index that leads to an index, without an end.
fn nested() -> Content {
    let mut content = Content::image(&[layer()]);
    let (mut kind, mut digest) = content.tags["latest"].clone();
    for _ in 0..20 {
        let size = content.blobs[&digest].len() as u64;
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor(&kind, &digest, size)] });
        digest = content.tag("latest", OCI_INDEX, index.to_string().as_bytes());
        kind = OCI_INDEX.to_owned();
    }
    content
}

/// The image with another configuration, or another layer list.
fn with_config(change: impl FnOnce(&mut Value)) -> Content {
    let mut content = Content::default();
    let described = content.blob(OCI_LAYER, &layer());
    let mut config = config(&[layer()]);
    change(&mut config);
    let document = content.manifest_of(&config, &[described]);
    content.tag("latest", OCI_MANIFEST, &document);
    content
}

/// An image of this one file as a layer, which unpacks to `diff_id`.
fn with_layer(file: &[u8], unpacked: &[u8], change: impl FnOnce(&mut Value)) -> Content {
    let mut content = Content::default();
    let mut described = content.blob(OCI_LAYER, file);
    change(&mut described);
    let document = content.manifest_of(&config(&[unpacked.to_vec()]), &[described]);
    content.tag("latest", OCI_MANIFEST, &document);
    content
}

#[test]
fn contents_that_lie() {
    let index_size = |size: u64| {
        let mut content = Content::image(&[layer()]);
        let digest = content.tags["latest"].1.clone();
        let index =
            json!({ "schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, &digest, size)] });
        content.tag("latest", OCI_INDEX, index.to_string().as_bytes());
        content
    };
    refused(
        "skopeo(1) refuses it too",
        vec![
            holds("indexes without an end", "leads to an index", nested()),
            holds(
                "a manifest shorter than its index says",
                "were said",
                index_size(4000),
            ),
            holds(
                "a manifest longer than its index says",
                "were said",
                index_size(20),
            ),
            holds(
                "another machine's",
                "this machine runs",
                with_config(|config| config["architecture"] = json!("s390x")),
            )
            .harms(naive::takes_image),
            holds(
                "fewer layers in the configuration",
                "names 0 layers",
                with_config(|config| config["rootfs"]["diff_ids"] = json!([])),
            )
            .harms(naive::takes_image),
            holds(
                "a weak diff ID",
                "no SHA-256",
                with_config(|config| config["rootfs"]["diff_ids"] = json!(["md5:00"])),
            )
            .harms(naive::takes_image),
            holds(
                "variables that are none",
                "NAME=VALUE",
                with_config(|config| config["config"]["Env"] = json!(["=x"])),
            )
            .harms(naive::takes_image),
        ],
    );
}

#[test]
fn layers_that_lie() {
    let bomb = vec![0; 200 << 20];
    let packed = gzip(&bomb);
    assert!(packed.len() < 1 << 20);
    let evil = Tar::default().file("../../evil", "x").end();
    let link = Tar::default().symlink("a", "/").file("a/evil", "x").end();
    let layer = layer();
    refused(
        "skopeo(1) refuses the sizes too; archives are proven where they are unpacked (images/unpack)",
        vec![
            holds(
                "a layer that unpacks to something else",
                "layer 1",
                with_layer(&layer, b"x", |_| ()),
            )
            .harms(naive::takes_image),
            holds(
                "a layer that grows without bound",
                "250",
                with_layer(&packed, &bomb, |_| ()),
            ),
            holds(
                "a layer that climbs out",
                "upwards",
                with_layer(&evil, &evil, |_| ()),
            ),
            holds(
                "a layer that writes through a link",
                "not a folder",
                with_layer(&link, &link, |_| ()),
            ),
            holds(
                "a layer of exabytes",
                "raise --max-size",
                with_layer(&layer, &layer, |found| found["size"] = json!(u64::MAX)),
            ),
            holds(
                "a layer longer than it says",
                "were said",
                with_layer(&layer, &layer, |found| {
                    found["size"] = json!(layer.len() - 1)
                }),
            )
            .harms(naive::takes_image),
            holds(
                "a layer shorter than it says",
                "were said",
                with_layer(&layer, &layer, |found| {
                    found["size"] = json!(layer.len() + 1)
                }),
            )
            .harms(naive::takes_image),
        ],
    );
}
