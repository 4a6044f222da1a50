//! The tokenizer classes of `transformers` that are known here, and what each adds to its files.

use crate::families::family;

/// A tokenizer class of `transformers`, slow or fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Word pieces: `BertTokenizer` and the classes that share its code.
    Bert,
    /// Byte-level BPE: `RobertaTokenizer` and `LongformerTokenizer`.
    Roberta,
    /// SentencePiece with fairseq's ids.
    XlmRoberta,
    /// Whatever `tokenizer.json` says.
    Generic,
}

/// The names of the classes, without the ending `Fast`.
const NAMES: [(&str, Class); 7] = [
    ("BertTokenizer", Class::Bert),
    ("DistilBertTokenizer", Class::Bert),
    ("ElectraTokenizer", Class::Bert),
    ("RobertaTokenizer", Class::Roberta),
    ("LongformerTokenizer", Class::Roberta),
    ("XLMRobertaTokenizer", Class::XlmRoberta),
    ("PreTrainedTokenizer", Class::Generic),
];

/// A special token that a class has unless its files say otherwise: attribute and content.
type Special = (&'static str, &'static str);

const BERT: [Special; 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

const ROBERTA: [Special; 7] = [
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];

impl Class {
    /// The class of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let name = name.strip_suffix("Fast").unwrap_or(name);
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, class)| *class)
    }

    /// The names of all.
    pub(super) fn names() -> String {
        NAMES.map(|(name, _)| name).join(", ")
    }

    /// The class of a model that names none: that of its family.
    pub(super) fn of_model(model_type: Option<&str>) -> Self {
        model_type.and_then(family).map_or(Self::Bert, |family| (family.tokenizer)(model_type.unwrap_or_default()))
    }

    /// The files that it reads where there is no `tokenizer.json`.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            Self::Bert => &["vocab.txt"],
            Self::Roberta => &["vocab.json", "merges.txt"],
            Self::XlmRoberta => &["sentencepiece.bpe.model"],
            Self::Generic => &[],
        }
    }

    /// Its special tokens.
    pub(super) fn defaults(self) -> &'static [Special] {
        match self {
            Self::Bert => &BERT,
            Self::Roberta | Self::XlmRoberta => &ROBERTA,
            Self::Generic => &[],
        }
    }
}
