//! DeBERTa (He et al., 2021, <https://arxiv.org/abs/2006.03654>): BERT with attention to the distances of positions.

mod keys;
mod v1;
mod v2;

pub(super) use v1::DEBERTA;
pub(super) use v2::DEBERTA_V2;
