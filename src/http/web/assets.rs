//! What pages are dressed with: styles, scripts and pictures, part of the program. Each has its content's hash in its
//! name, so that everybody on the way may keep it for ever.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};

use crate::http::problem::{Kind, Problem};

/// Hexadecimal digits of a hash in a name.
const HASH_DIGITS: usize = 12;

const FOR_EVER: &str = "public, max-age=31536000, immutable";

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Folder;

struct Asset {
    /// Without the hash.
    name: String,
    media_type: &'static str,
    plain: Bytes,
    gzip: Bytes,
    brotli: Bytes,
}

struct Assets {
    /// By name with the hash.
    all: HashMap<String, Asset>,
    /// Addresses by name without it.
    addresses: HashMap<String, String>,
}

/// Compressed once, as well as can be.
static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let all: HashMap<_, _> = Folder::iter().filter_map(|name| Asset::read(&name)).collect();
    let addresses = all.iter().map(|(hashed, asset)| (asset.name.clone(), format!("/assets/{hashed}")));
    Assets { addresses: addresses.collect(), all }
});

impl Asset {
    /// An asset, by its name with the hash.
    fn read(name: &str) -> Option<(String, Self)> {
        let plain = Folder::get(name)?.data.into_owned();
        let (stem, extension) = name.rsplit_once('.')?;
        let media_type = match extension {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            "webmanifest" => "application/manifest+json",
            _ => return None,
        };
        let hash = hex::encode(Sha256::digest(&plain));
        let hashed = format!("{stem}.{}.{extension}", &hash[..HASH_DIGITS]);
        let (gzip, brotli) = (gzip(&plain).into(), brotli(&plain).into());
        Some((hashed, Self { name: name.to_owned(), media_type, plain: plain.into(), gzip, brotli }))
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.expect("memory takes everything")
}

fn brotli(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let settings = BrotliEncoderParams::default();
    brotli::BrotliCompress(&mut &*plain, &mut packed, &settings).expect("memory takes everything");
    packed
}

/// Reads and compresses all of them, which takes a moment, so that no visitor waits for it.
pub fn prepare() {
    LazyLock::force(&ASSETS);
}

/// Where an asset is; nowhere when there is none of that name.
pub fn address(name: &str) -> Option<&'static str> {
    ASSETS.addresses.get(name).map(String::as_str)
}

/// The picture of a product: its own, or one that fits all.
pub fn picture(sku: &str) -> &'static str {
    let own = address(&format!("pictures/{}.svg", sku.to_lowercase()));
    own.or_else(|| address("pictures/other.svg")).unwrap_or_default()
}

/// Answers with an asset, in the smallest form that the browser understands.
pub async fn serve(name: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    let asset = name.ok().and_then(|Path(name)| ASSETS.all.get(&name));
    let Some(asset) = asset else {
        return Problem::new(Kind::NotFound, "There is nothing at this address.").into_response();
    };
    let (coding, body) = match accepted(&headers) {
        Some("br") => (Some("br"), &asset.brotli),
        Some(coding) => (Some(coding), &asset.gzip),
        None => (None, &asset.plain),
    };
    let mut response = (StatusCode::OK, body.clone()).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A picture that is opened by itself is no page of the shop.
    answer.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    if let Some(coding) = coding {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response
}

/// The best coding that a browser accepts. Source: RFC 9110, section 12.5.3.
fn accepted(headers: &HeaderMap) -> Option<&'static str> {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(',')).filter_map(|part| {
        let mut words = part.split(';').map(str::trim);
        let coding = words.next()?;
        let refused =
            words.any(|word| matches!(word.strip_prefix("q="), Some("0" | "0.0" | "0.00" | "0.000")));
        (!refused).then_some(coding)
    });
    let mut gzip = false;
    let brotli = codings.any(|coding| {
        gzip |= coding.eq_ignore_ascii_case("gzip");
        coding.eq_ignore_ascii_case("br")
    });
    if brotli { Some("br") } else { gzip.then_some("gzip") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &'static str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        accepted(&headers)
    }

    #[test]
    fn the_best_coding_that_is_accepted_is_taken() {
        assert_eq!(asked("gzip, deflate, br"), Some("br"));
        assert_eq!(asked("gzip;q=1.0, br;q=0"), Some("gzip"));
        assert_eq!(asked("identity"), None);
        assert_eq!(accepted(&HeaderMap::new()), None);
    }

    #[test]
    fn every_asset_has_an_address_of_its_content() {
        for name in ["shop.css", "shop.js", "pictures/icon.svg", "pictures/other.svg"] {
            let address = address(name).unwrap_or_else(|| panic!("{name} is missing"));
            let asset = &ASSETS.all[address.strip_prefix("/assets/").expect("an address of an asset")];
            assert!(asset.brotli.len() < asset.plain.len(), "{name}");
        }
        assert_eq!(Folder::iter().count(), ASSETS.all.len(), "every file has a media type");
        assert_ne!(picture("TICKET-STAND"), picture("SKU of nobody"));
    }
}
