//! The tokenizer classes of `transformers` that are known here, and what each adds to its files.

use crate::families::family;

/// A tokenizer class of `transformers`, slow or fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Word pieces: `BertTokenizer` and the classes that share its code.
    Bert,
    /// Byte-level BPE between `<s>` and `</s>`.
    Roberta,
    /// Byte-level BPE, with nothing around a text.
    Gpt2,
    /// Byte-level BPE with a normalizer and a pattern of its own.
    Qwen2,
    /// Byte-level BPE with BERT's special tokens.
    Deberta,
    /// SentencePiece with fairseq's ids.
    XlmRoberta,
    /// SentencePiece with fairseq's ids and languages, one of which follows a text.
    MBart,
    /// As [`MBart`](Self::MBart), with more languages, one of which stands before a text.
    MBart50,
    /// SentencePiece with fairseq's ids and programming languages.
    PlBart,
    /// SentencePiece with BERT's special tokens, on text in lower case without accents.
    Albert,
    /// SentencePiece with BERT's special tokens.
    DebertaV2,
    /// SentencePiece, with nothing around a text.
    BertGeneration,
    /// SentencePiece with sentinels, and `</s>` after a text.
    T5,
    /// SentencePiece of BPE with single bytes for what it lacks.
    Llama,
    /// As [`Llama`](Self::Llama), without a space before the first word.
    Gemma,
    /// Whatever `tokenizer.json` says.
    Generic,
}

/// The names of the classes, without the ending `Fast`.
const NAMES: [(&str, Class); 23] = [
    ("AlbertTokenizer", Class::Albert),
    ("BartTokenizer", Class::Roberta),
    ("BertGenerationTokenizer", Class::BertGeneration),
    ("BertTokenizer", Class::Bert),
    ("CodeGenTokenizer", Class::Gpt2),
    ("DebertaTokenizer", Class::Deberta),
    ("DebertaV2Tokenizer", Class::DebertaV2),
    ("DistilBertTokenizer", Class::Bert),
    ("ElectraTokenizer", Class::Bert),
    ("GPT2Tokenizer", Class::Gpt2),
    ("GemmaTokenizer", Class::Gemma),
    ("LlamaTokenizer", Class::Llama),
    ("LongformerTokenizer", Class::Roberta),
    ("MBart50Tokenizer", Class::MBart50),
    ("MBartTokenizer", Class::MBart),
    ("MT5Tokenizer", Class::T5),
    ("PLBartTokenizer", Class::PlBart),
    ("PreTrainedTokenizer", Class::Generic),
    ("Qwen2Tokenizer", Class::Qwen2),
    ("RobertaTokenizer", Class::Roberta),
    ("T5Tokenizer", Class::T5),
    ("XLMRobertaTokenizer", Class::XlmRoberta),
    ("XmodTokenizer", Class::XlmRoberta),
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

const DEBERTA: [Special; 7] = [
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

const ALBERT: [Special; 7] = [
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "<unk>"),
    ("sep_token", "[SEP]"),
    ("pad_token", "<pad>"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

const BERT_GENERATION: [Special; 5] = [
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "<::::>"),
    ("pad_token", "<pad>"),
];

const GPT2: [Special; 3] =
    [("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>")];

const QWEN2: [Special; 3] =
    [("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")];

const LLAMA: [Special; 3] = [("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")];

const GEMMA: [Special; 4] =
    [("bos_token", "<bos>"), ("eos_token", "<eos>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")];

const T5: [Special; 3] = [("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")];

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
            Self::Roberta | Self::Gpt2 | Self::Qwen2 | Self::Deberta => &["vocab.json", "merges.txt"],
            Self::XlmRoberta | Self::MBart | Self::MBart50 | Self::PlBart => &["sentencepiece.bpe.model"],
            Self::Albert | Self::BertGeneration | Self::T5 => &["spiece.model"],
            Self::DebertaV2 => &["spm.model"],
            Self::Llama | Self::Gemma => &["tokenizer.model"],
            Self::Generic => &[],
        }
    }

    /// Its special tokens.
    pub(super) fn defaults(self) -> &'static [Special] {
        match self {
            Self::Bert => &BERT,
            Self::Roberta | Self::XlmRoberta | Self::MBart | Self::PlBart => &ROBERTA,
            // Without a token at the beginning of a text.
            Self::MBart50 => &ROBERTA[1..],
            Self::Deberta | Self::DebertaV2 => &DEBERTA,
            Self::Albert => &ALBERT,
            Self::BertGeneration => &BERT_GENERATION,
            Self::Gpt2 => &GPT2,
            Self::Qwen2 => &QWEN2,
            Self::Llama => &LLAMA,
            Self::Gemma => &GEMMA,
            Self::T5 => &T5,
            Self::Generic => &[],
        }
    }

    /// Whether the texts of a pair have types (segments).
    pub(super) fn has_token_types(self) -> bool {
        matches!(self, Self::Bert | Self::Albert | Self::Deberta | Self::DebertaV2 | Self::Generic)
    }

    /// The defaults of `do_lower_case`.
    pub(super) fn lower_case(self) -> bool {
        self != Self::DebertaV2
    }

    /// The default of `add_prefix_space`.
    pub(super) fn prefix_space(self) -> bool {
        matches!(self, Self::Llama | Self::T5)
    }

    /// The default of `clean_up_tokenization_spaces` in the slow tokenizer, which is converted where there is no
    /// `tokenizer.json`.
    pub(super) fn cleans_up_spaces(self) -> bool {
        matches!(self, Self::Bert | Self::PlBart)
    }

    /// The languages that have a token each.
    pub(super) fn languages(self, more: bool) -> &'static [&'static str] {
        match (self, more) {
            (Self::MBart, _) => &LANGUAGES[..25],
            (Self::MBart50, _) => &LANGUAGES,
            (Self::PlBart, false) => &CODE_LANGUAGES[..3],
            (Self::PlBart, true) => &CODE_LANGUAGES,
            _ => &[],
        }
    }
}

const LANGUAGES: [&str; 52] = [
    "ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN", "it_IT", "ja_XX",
    "kk_KZ", "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", "ru_RU", "si_LK", "tr_TR", "vi_VN",
    "zh_CN", "af_ZA", "az_AZ", "bn_IN", "fa_IR", "he_IL", "hr_HR", "id_ID", "ka_GE", "km_KH", "mk_MK", "ml_IN",
    "mn_MN", "mr_IN", "pl_PL", "ps_AF", "pt_XX", "sv_SE", "sw_KE", "ta_IN", "te_IN", "th_TH", "tl_XX", "uk_UA",
    "ur_PK", "xh_ZA", "gl_ES", "sl_SI",
];

const CODE_LANGUAGES: [&str; 7] =
    ["__java__", "__python__", "__en_XX__", "__javascript__", "__php__", "__ruby__", "__go__"];
