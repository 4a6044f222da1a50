//! `predict`: labels for texts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn_adapters_composition::HeadSetup;
use burn_adapters_files::open;
use burn_adapters_train::tasks::TRAIN_TASKS;
use burn_adapters_train::{
    Columns, DataError, Dataset, Example, Format, Header, Lengths, RowProblem, TextForm, TokenData, TrainTask,
    Truncation,
};
use clap::Args;

use super::DeviceArguments;
use super::answers::{answers, of_examples};
use super::data::{HEADER_HELP, HeaderArguments, data_error, parse_task};
use super::feed::{Feed, FeedError, Reading};
use super::lengths::LengthArguments;
use super::masks;
use super::model::{Model, train_error};
use super::predictions::{Block, Kind, Printer};
use super::routes::{self, Routes};
use super::setup::{Loaded, SETUP_HELP, SetupArguments};
use crate::draw;
use crate::error::{CliError, CliResult};
use crate::progress::Style;

const EXAMPLES: &str = "\
Examples:
  burn-adapters predict --model all-MiniLM-L6-v2 --adapter my-adapter --text 'A fine film.' 'No.'
  cat texts.txt | burn-adapters predict --model all-MiniLM-L6-v2 --adapter out --input - --json
  burn-adapters predict --model all-MiniLM-L6-v2 --adapter language=german --adapter reviews=out \\
    --setup 'Stack(language, reviews)' --input texts.txt
  burn-adapters predict --model all-MiniLM-L6-v2 --adapter nli --text 'A man sleeps.' \\
    --pair 'Nobody is awake.'
  burn-adapters predict --model all-MiniLM-L6-v2 --adapter films=a --adapter tweets=b \\
    --route kind --input mixed.csv
  burn-adapters predict --model bert-base-uncased --adapter squad --question 'Where is the Eiffel Tower?' \\
    --context 'The Eiffel Tower stands in Paris.' --json
  burn-adapters predict --model bert-base-uncased --task masked-lm --text 'Paris is the [MASK] of France.' \\
    --top 3 --json
  burn-adapters predict --model bert-base-uncased --adapter swag --text 'She opens the door and' \\
    --choice 'walks out.' --choice 'eats it.' --json";

/// Predict the labels of texts, the answers to questions, or the tokens behind masks.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{SETUP_HELP}"))]
pub(super) struct Arguments {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    #[command(flatten)]
    adapters: SetupArguments,

    /// Column that names the adapter of each text. Texts whose cell is empty or `none` use no adapter and get no label
    /// (unless a single --head is given). Adapters of different methods share a batch. With --setup, the column fills
    /// its `Route()`.
    #[arg(long, value_name = "COLUMN")]
    route: Option<String>,

    /// Text to predict. Repeat the option or list several texts.
    #[arg(long, visible_alias = "question", value_name = "TEXT", num_args = 1.., required_unless_present = "input")]
    text: Vec<String>,

    /// Second text of each --text, for pairs of texts. Give one for each --text, in the same order.
    #[arg(
        long,
        visible_alias = "context",
        value_name = "TEXT",
        num_args = 1..,
        requires = "text",
        conflicts_with = "input"
    )]
    pair: Vec<String>,

    /// In multiple choice, a choice of every --text. Repeat the option for each choice.
    #[arg(long, value_name = "TEXT", requires = "text", conflicts_with_all = ["input", "pair"])]
    choice: Vec<String>,

    /// File with one text per line, or a .csv, .tsv or .jsonl file; `-` reads standard input. An empty line or cell is an
    /// empty text. Predictions are printed while the input is read.
    #[arg(long, value_name = "FILE|-", conflicts_with = "text")]
    input: Option<PathBuf>,

    /// Column of the text in a .csv, .tsv or .jsonl file: its name, or its number, counted from 0 [default: text; in
    /// question answering: question].
    #[arg(long, value_name = "COLUMN")]
    text_column: Option<String>,

    /// Column of the second text in a .csv, .tsv or .jsonl file, for pairs of texts [default in question answering: context].
    #[arg(long, value_name = "COLUMN", requires = "input")]
    pair_column: Option<String>,

    /// In multiple choice, the columns of the choices, separated by commas, or the one with a list of them [default: choices,
    /// or ending0, ending1 and so on].
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',', requires = "input")]
    choice_columns: Vec<String>,

    /// Task of the head: classification, multilabel, regression, tagging, question-answering, multiple-choice,
    /// dependency-parsing or masked-lm. A head with another task is an error. In masked language modeling, adapters
    /// without a head, or the model without an adapter, use the model's own output layer. [default: the head's]
    #[arg(long, value_name = "TASK", value_parser = parse_task)]
    task: Option<&'static dyn TrainTask>,

    #[command(flatten)]
    header: HeaderArguments,

    /// Input format, regardless of the file name.
    #[arg(long, value_name = "lines|csv|tsv|jsonl", value_parser = parse_format)]
    format: Option<InputFormat>,

    /// Texts per batch. If --setup has sizes, all texts are one batch.
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch_size: usize,

    #[command(flatten)]
    lengths: LengthArguments,

    /// Masked language modeling: the number of tokens to print for each mask.
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,

    /// Question answering: predict no answer if this is more likely than every answer; for heads that were trained on
    /// unanswerable questions.
    #[arg(long)]
    allow_no_answer: bool,

    #[command(flatten)]
    device: DeviceArguments,

    /// Print one JSON object per line: text, label (the value for a regression head), logits, probabilities; with
    /// --route also adapter. With several heads: text and heads, which has the other fields for each head by name (a
    /// second branch with the head NAME is NAME:2). Of a tagging head: text, tokens (token, start, end, label, logits)
    /// and entities (text, label, start, end, score), where start and end count characters. In question answering: text
    /// and pair (question and context), answer, start, end, score, start_logits and end_logits (of all tokens of the
    /// window with the answer). In dependency parsing: text and words (word, start, end, head from 1 or 0 for the root,
    /// relation, score). In multiple choice: text, choice, index (from 0), logits and probabilities (of the choices). In
    /// masked language modeling: text and masks (position, which is the number of the token in its row, and top, a list
    /// of token, logit, probability).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputFormat {
    Lines,
    Table(Format),
}

fn parse_format(text: &str) -> Result<InputFormat, String> {
    text.parse().map(InputFormat::of)
}

impl InputFormat {
    fn of(format: Format) -> Self {
        if format == Format::Lines { Self::Lines } else { Self::Table(format) }
    }
}

/// The source of the texts.
enum Texts {
    Given(Option<Vec<Example>>),
    Feed(Box<Feed>),
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        if self.route.is_some() && self.input.is_none() {
            return Err(CliError::mistake("--route names a column, but texts given by --text have no columns")
                .with_help("--input takes a .csv, .tsv or .jsonl file"));
        }
        if self.batch_size == 0 {
            return Err(CliError::mistake("--batch-size must be at least 1, found 0"));
        }
        if !self.pair.is_empty() && self.pair.len() != self.text.len() {
            let message = format!("{} texts in --text, but {} in --pair", self.text.len(), self.pair.len());
            return Err(CliError::mistake(message).with_help("each --text needs a --pair: give as many of both"));
        }
        if self.top == 0 {
            return Err(CliError::mistake("--top must be at least 1, found 0"));
        }
        let setup_source = self.adapters.composition_for(self.task, self.route.is_some())?;
        let device = self.device.open(style)?.device;
        let model = self.device.load(&self.model, &device, style)?;
        let loaded = self.adapters.load_for(self.task, setup_source, &model, &device, style)?;
        let form = loaded.form()?;
        let unlabeled = match form {
            TextForm::Causal => Some("causal language modeling"),
            TextForm::Target => Some("seq2seq language modeling"),
            TextForm::Preferences => Some("preference optimization"),
            _ => None,
        };
        if let Some(task) = unlabeled {
            let message = format!("predict has no labels to print for {task}");
            return Err(CliError::mistake(message).with_help(
                "`burn-adapters generate` writes texts, and `burn-adapters score` tells how probable they are",
            ));
        }
        let (mut texts, known) = self.texts(loaded.text_columns()?, form)?;
        match (&self.route, known) {
            (None, _) => loaded.check_routes(None)?,
            (Some(_), Some(first)) => drop(self.routed(&loaded, first)?),
            (Some(_), None) => {}
        }
        loaded.check_task(self.task)?;
        if !self.pair.is_empty() || self.pair_column.is_some() {
            loaded.check_pairs(if self.pair.is_empty() { "--pair-column" } else { "--pair" })?;
        }
        loaded.check_choices(&self.choice, self.input.is_some())?;
        if self.input.is_none() && self.pair.is_empty() {
            loaded.check_context()?;
        }
        let heads = if self.route.is_some() { None } else { Some(loaded.heads(&loaded.setup(None))?) };
        let kind = match &heads {
            None | Some(HeadSetup::Route(_)) => Kind::Routed,
            Some(HeadSetup::Several(_) | HeadSetup::BatchSplit { .. }) => Kind::Several,
            _ => Kind::One,
        };
        if form == TextForm::Masked && kind == Kind::Several {
            let message = format!("{} has several heads, but masks are predicted by one", loaded.shown());
            return Err(CliError::mistake(message).with_help("predict with each adapter alone"));
        }
        let rows = match &heads {
            Some(HeadSetup::Route(route)) => route.rows().to_vec(),
            _ => Routes::new(),
        };
        let lengths = self.lengths.lengths(&model, self.allow_no_answer)?;
        let labels = labels(&loaded);
        let mut printer = Printer::new(self.json, kind);
        let (mut cut, mut done) = (Cut::default(), 0);
        while let Some((block, last)) = self.next_block(&mut texts, &loaded)? {
            let (data, routes) = self.routed(&loaded, block)?;
            let tokens = cut.tokenize(&model, &data, form, lengths)?;
            if form == TextForm::Masked {
                let shown = masks::Shown { json: self.json, top: self.top };
                masks::print(&model, &loaded, &data, &tokens, routes.as_ref(), self.batch_size, shown)?;
                done += tokens.len();
                continue;
            }
            let batches = loaded.batches(&tokens, routes.as_ref(), self.batch_size)?;
            let answers = answers(&model, &loaded.bank, (&tokens, done), &batches)?;
            done += tokens.len();
            let answers = of_examples(&tokens, answers)?;
            let adapters = routes.as_ref().unwrap_or(&rows);
            printer.print(
                &Block { data: &data, tokens: &tokens, answers: &answers, adapters },
                Some(&labels[..]).filter(|_| !last),
            )?;
        }
        cut.warn();
        Ok(())
    }

    /// The texts. All rows of a file are checked first, so that nothing is predicted from a file with bad rows; the
    /// first row that names each adapter is returned as well.
    fn texts(&self, columns: (&str, Option<&str>), form: TextForm) -> CliResult<(Texts, Option<Vec<Example>>)> {
        let Some(path) = &self.input else {
            let mut examples = Dataset::from_texts("--text", self.text.iter().cloned()).examples().to_vec();
            for (example, pair) in examples.iter_mut().zip(&self.pair) {
                example.pair = Some(pair.clone());
            }
            examples.iter_mut().for_each(|example| example.choices.clone_from(&self.choice));
            return Ok((Texts::Given(Some(examples)), None));
        };
        let reading = self.reading(path, columns, form)?;
        let name = self.source();
        if path == Path::new("-") {
            return Ok((Texts::Feed(Box::new(Feed::stream(&name, &reading, std::io::stdin()))), None));
        }
        let feed = || {
            let opened = open(path).map_err(|error| {
                CliError::file(error).with_help("--input takes a file, or `-` for what is piped in")
            })?;
            Feed::file(&name, &reading, opened.file).map_err(|error| CliError::io("read", path, &error))
        };
        let first = self.check(feed()?)?;
        Ok((Texts::Feed(Box::new(feed()?)), Some(first)))
    }

    /// The name of the input, for messages.
    fn source(&self) -> String {
        match &self.input {
            None => "--text".into(),
            Some(path) if path == Path::new("-") => "standard input".into(),
            Some(path) => path.display().to_string(),
        }
    }

    fn reading(&self, path: &Path, (text, pair): (&str, Option<&str>), form: TextForm) -> CliResult<Reading> {
        let format = self.format.unwrap_or_else(|| Format::of_path(path).map_or(InputFormat::Lines, InputFormat::of));
        let named = [("--route", &self.route), ("--pair-column", &self.pair_column)];
        match (format, named.iter().find(|(_, column)| column.is_some())) {
            (InputFormat::Lines, Some((option, _))) => {
                let message = format!("{} holds one text per line, so it has no column for {option}", self.source());
                Err(CliError::mistake(message)
                    .with_help("--format csv, tsv or jsonl sets the format if the file's name does not"))
            }
            (InputFormat::Lines, None) if pair.is_some() => {
                let message = format!("{} holds one text per line, but a question needs a context", self.source());
                Err(CliError::mistake(message)
                    .with_help("--input takes a .csv, .tsv or .jsonl file with a column for each"))
            }
            (InputFormat::Lines, None) if form == TextForm::Choices => {
                let message = format!("{} holds one text per line, but a text needs choices", self.source());
                Err(CliError::mistake(message).with_help(
                    "--input takes a .csv, .tsv or .jsonl file with a column `choices`; --choice-columns names others",
                ))
            }
            (InputFormat::Lines, None) => Ok(Reading::Lines),
            (InputFormat::Table(Format::Conll), _) => {
                Err(CliError::mistake(format!("{}: CoNLL columns hold words with tags, not texts", self.source()))
                    .with_help("predict takes one text per line, or a column of texts; evaluate scores tagged words"))
            }
            (InputFormat::Table(format), _) => {
                let text = self.text_column.as_deref().unwrap_or(text);
                let route = self.route.as_deref();
                let columns = route.map_or_else(|| Columns::unlabeled(text), |route| routes::columns(text, route));
                let columns = columns.with_header(self.header.header()).with_empty_texts(true);
                let task = TRAIN_TASKS.into_iter().find(|task| form == TextForm::Choices && task.form() == form);
                let columns = match task {
                    Some(task) => columns.with_task(task),
                    None => columns,
                };
                let columns = columns.with_choices(self.choice_columns.iter().map(String::as_str));
                let columns = match self.pair_column.as_deref().or(pair) {
                    Some(pair) => columns.with_pair(pair),
                    None => columns,
                };
                // The first rows are predicted before all rows have been seen.
                if format != Format::JsonLines && columns.header == Header::Auto && !columns.any_named() {
                    let message = "columns are given by number, and line 1 may be a header or the first text";
                    return Err(CliError::mistake(format!("{}: {message}", self.source())).with_help(HEADER_HELP));
                }
                Ok(Reading::Table(format, columns))
            }
        }
    }

    /// Reads a file to its end: its bad rows, or the first row of each adapter.
    fn check(&self, mut feed: Feed) -> CliResult<Vec<Example>> {
        /// A bound on the adapters that are checked in advance; further ones are checked when they are used.
        const MOST: usize = 10_000;
        const ROWS: usize = 4096;
        let (mut first, mut names) = (Vec::new(), BTreeSet::new());
        let (mut problems, mut others): (Vec<RowProblem>, usize) = (Vec::new(), 0);
        loop {
            match feed.next_block(ROWS) {
                Ok(None) => break,
                Ok(Some(block)) => {
                    for example in block {
                        if names.len() < MOST && names.insert(routes::adapter_of(&example)) {
                            first.push(Example { text: String::new(), ..example });
                        }
                    }
                }
                Err(FeedError::Data(DataError::BadRows { problems: found, more, .. })) => {
                    problems.extend(found);
                    others += more + problems.len().saturating_sub(DataError::SHOWN);
                    problems.truncate(DataError::SHOWN);
                }
                Err(error) => return Err(self.feed_error(error)),
            }
        }
        if problems.is_empty() {
            return Ok(first);
        }
        Err(data_error(&DataError::BadRows { source_name: self.source(), problems, more: others }))
    }

    fn feed_error(&self, error: FeedError) -> CliError {
        match (&error, &self.route) {
            (FeedError::Data(DataError::MissingColumn { .. }), Some(_)) => {
                CliError::from(error).with_help("--text-column and --route name the columns, or number them from 0")
            }
            _ => error.into(),
        }
    }

    /// The texts that are predicted together, and whether they are known to be the last.
    fn next_block(&self, texts: &mut Texts, loaded: &Loaded) -> CliResult<Option<(Vec<Example>, bool)>> {
        let feed = match texts {
            Texts::Given(given) => return Ok(given.take().map(|examples| (examples, true))),
            Texts::Feed(feed) => feed,
        };
        // Several batches, so that texts of similar length can go through the model together.
        let count = self.batch_size.max(self.batch_size.saturating_mul(8).min(4096));
        let Some(mut block) = feed.next_block(count).map_err(|error| self.feed_error(error))? else { return Ok(None) };
        while loaded.is_sized() {
            let Some(more) = feed.next_block(count).map_err(|error| self.feed_error(error))? else { break };
            block.extend(more);
        }
        Ok(Some((block, feed.has_ended())))
    }

    /// Texts without labels, and with --route each one's adapter, which must be there.
    fn routed(&self, loaded: &Loaded, mut block: Vec<Example>) -> CliResult<(Dataset, Option<Routes>)> {
        let routes = self.route.is_some().then(|| block.iter().map(routes::adapter_of).collect::<Routes>());
        block.iter_mut().for_each(|example| example.label = None);
        let data = Dataset::from_examples(self.source(), block).map_err(|error| data_error(&error))?;
        if let Some(routes) = &routes {
            loaded.check_routes(Some((&data, routes)))?;
        }
        Ok((data, routes))
    }
}

/// The labels of all heads.
fn labels(loaded: &Loaded) -> Vec<String> {
    /// With more labels, a column may become wider later.
    const MOST: usize = 1000;
    let heads = loaded.bank.head_names().filter_map(|name| loaded.bank.head(name).ok());
    let labels =
        heads.flat_map(|head| head.config().labels().into_iter().map(|label| label.to_string()).collect::<Vec<_>>());
    labels.take(MOST).collect()
}

/// The truncated texts of all blocks.
#[derive(Default)]
struct Cut {
    found: Option<Truncation>,
    of: usize,
}

impl Cut {
    fn tokenize(&mut self, model: &Model, data: &Dataset, form: TextForm, lengths: Lengths) -> CliResult<TokenData> {
        let tokens = TokenData::unlabeled(data, form, &model.tokenizer, lengths);
        let tokens = tokens.map_err(|error| train_error(&error))?;
        self.of += tokens.len();
        match (&mut self.found, tokens.truncation()) {
            (Some(found), Some(more)) => found.texts += more.texts,
            (found @ None, more) => *found = more.cloned(),
            (Some(_), None) => {}
        }
        Ok(tokens)
    }

    fn warn(self) {
        if let Some(found) = self.found {
            draw::warning(&Truncation { of: self.of, ..found }.to_string());
        }
    }
}
