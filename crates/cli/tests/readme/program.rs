use burn::tensor::Device;
use burn_adapters::prelude::*;
use burn_adapters::transformers::{AutoModel, Tokenizer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::default();
    let folder = std::path::Path::new("all-MiniLM-L6-v2");
    let (model, _) = AutoModel::from_dir(folder, &device)?;                    // frozen, on the plain device
    let mut bank = AdapterBank::new(model.spec(), &device.clone().autodiff()); // adapters, on the autodiff device
    println!("{}", bank.add("reviews", "seq_bn[reduction_factor=8]|lora".parse()?)?);

    let tokens = Tokenizer::from_dir(folder)?.encode(&["A quiet, clever film."], 128)?;
    let hooks = bank.hooks(&Setup::adapter("reviews"))?;                       // which adapters this pass uses
    let output = model.forward(&TokenBatch::from_rows(&tokens.rows), &hooks)?;
    println!("{:?}", output.hidden.dims());
    Ok(())
}
