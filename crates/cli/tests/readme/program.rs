use burn::tensor::Device;
use burn_adapters::prelude::*;
use burn_adapters::transformers::{Batch, Bert, Tokenizer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let folder = std::path::Path::new("all-MiniLM-L6-v2");
    let (bert, _) = Bert::from_dir(folder, &device)?;                        // frozen, on the plain device
    let mut bank = AdapterBank::new(bert.spec(), &device.clone().autodiff()); // adapters, on the autodiff one
    println!("{}", bank.add("reviews", "seq_bn[reduction_factor=8]|lora".parse()?)?);

    let tokens = Tokenizer::from_dir(folder)?.encode(&["A quiet, clever film."], 128)?;
    let hooks = bank.hooks(&Setup::adapter("reviews"))?;                     // what this pass uses: a value
    let output = bert.forward(Batch::from_rows(&tokens.rows, 0, &device), &hooks)?;
    println!("{:?}", output.hidden.dims());
    Ok(())
}
