"""Writes reference_configs.json: what the Python reference (`adapters` 1.3.0) makes of its names and strings.

Run with a Python that has it: python make.py
"""

import json
import pathlib

from transformers.activations import ACT2FN

import adapters
from adapters.configuration.adapter_config import ADAPTER_CONFIG_MAP, AdapterConfig, AdapterPlusConfig

HERE = pathlib.Path(__file__).parent

# Strings that the reference reads and whose values make sense to it.
STRINGS = r"""
seq_bn[]
lora[ ]
 seq_bn | lora
seq_bn[reduction_factor=8,]
seq_bn['reduction_factor':8]
seq_bn['reduction_factor':8,non_linearity="gelu"]
seq_bn[reduction_factor={'0':2,'default':16}]
seq_bn[reduction_factor={0: 2, 'default': 16}]
seq_bn[reduction_factor={default=16}]
double_seq_bn[reduction_factor={"1": 0.5, "default": 64}, non_linearity='gelu_new']
double_seq_bn[reduction_factor=0.5,use_gating=True,dropout=0.1]
seq_bn[scaling='learned',original_ln_before=False,residual_before_ln=False]
par_bn[scaling=-2.5,leave_out=[0,1,11]]
scaled_par_bn[scaling='channel',mh_adapter=True]
seq_bn[residual_before_ln='post_add',ln_after=True,adapter_residual_before_ln=True]
seq_bn_inv[inv_adapter='glow',inv_adapter_reduction_factor=4]
seq_bn[inv_adapter=None,init_weights_seed=42]
compacter++[phm_dim=2,shared_W_phm=True,factorized_phm_W=False]
compacter[phm_dim=8]
compacter[hypercomplex_nonlinearity='normal',phm_c_init='uniform',learn_phm=False]
pfeiffer+inv
houlsby[non_linearity='relu']
lora[attn_matrices=('q','k')]
lora[attn_matrices=['q','k','v','o']]
lora[attn_matrices=['q'],]
lora[alpha=0x10]
lora[r=1_0]
lora[r=(8)]
lora[dropout=1e-1,r=+4]
lora[alpha=16,selfattn_lora=False,output_lora=True]
lora[init_weights='be' 'rt']
lora[init_weights='''bert''']
lora[init_weights=r'bert']
lora[init_weights=u'bert']
lora[dtype='bfloat16',use_gating=True]
lora[architecture='lora']
ia3[attn_matrices=['q','k','v']]
vera[vera_d=0.5,r=16]
dora[r=2,leave_out=[3]]
mtl_lora[n_up_projection=3,task_specific_matrix_type='linear',weights_sharpness=0.5]
prefix_tuning[flat=True,prefix_length=5]
prefix_tuning_flat[cross_prefix=False]
prefix_tuning[non_linearity='relu',leave_out=[0]]
prompt_tuning[prompt_length=3,combine='prefix_after_bos']
prompt_tuning[prompt_init='from_string',prompt_init_text='it\'s a \x7c test\n']
loreft[layers=[0,2],r=4,suffix_positions=2,tied_weights=True]
noreft[dropout=0.0,non_linearity='gelu']
direft[r=2]
mam[dropout=0.1]
unipelt[use_gating=False]
unipelt[leave_out=[0]]
prefix_tuning[bottleneck_size=800]|parallel
seq_bn[mh_adapter=True,output_adapter=False]|par_bn
lora[leave_out=[0,1]]|lora[r=4,leave_out=[2,3]]
lora|prefix_tuning_flat|prompt_tuning|par_bn|loreft
""".strip("\n").split("\n")


def methods(config):
    return config.get("configs", [config])


def changed(string):
    """Per method of the string: the registry's entry it starts from, and the keys that are other than there."""
    chunks = [chunk.split("[")[0].strip() for chunk in string.split("|")]
    bases = [(name, index) for name in chunks for index, _ in enumerate(methods(ADAPTER_CONFIG_MAP[name].to_dict()))]
    outcome = AdapterConfig.load(string)
    found = []
    for (name, index), config in zip(bases, methods(json.loads(json.dumps(outcome.to_dict()))), strict=True):
        base = methods(ADAPTER_CONFIG_MAP[name].to_dict())[index]
        assert base.keys() == config.keys()
        found.append([name, index, {key: value for key, value in config.items() if value != base[key]}])
    return found


assert adapters.__version__ == "1.3.0", adapters.__version__
goldens = {
    "registry": {name: config.to_dict() for name, config in ADAPTER_CONFIG_MAP.items()},
    "adapter_plus": AdapterPlusConfig().to_dict(),
    # `prelu` and `xielu` have weights of their own, which no adapter file has room for.
    "activations": sorted({*ACT2FN, "leakyrelu"} - {"prelu", "xielu"}),
    "strings": {string: changed(string) for string in STRINGS},
}
with open(HERE / "reference_configs.json", "w") as file:
    file.write("{\n")
    sections = []
    for name, section in goldens.items():
        if name in ("registry", "strings"):
            lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in section.items())
            sections.append(f"  {json.dumps(name)}: {{\n{lines}\n  }}")
        else:
            sections.append(f"  {json.dumps(name)}: {json.dumps(section)}")
    file.write(",\n".join(sections) + "\n}\n")
