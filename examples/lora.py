"""Frozen weights and LoRA: a rule that is bound to all kernels applies to the currently trainable ones."""

import torch
from peft import LoraConfig, get_peft_model

import regtorch

torch.manual_seed(0)
x, y = torch.randn(64, 20), torch.randint(3, (64,))
base = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
model = get_peft_model(base, LoraConfig(r=4, target_modules=["0"], modules_to_save=["2"]))
optimizer = torch.optim.Adam([w for w in model.parameters() if w.requires_grad], lr=1e-2)

penalty = regtorch.WeightPenalty(model, regtorch.L2(1e-3))  # now: of lora_A, lora_B and the new head
constraint = regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.5))
constraint.attach(optimizer)
frozen = base[0].base_layer.weight.clone()
for _ in range(5):
    optimizer.zero_grad()
    (torch.nn.functional.cross_entropy(model(x), y) + penalty()).backward()
    optimizer.step()
assert torch.equal(base[0].base_layer.weight, frozen)

base[0].base_layer.requires_grad_(
    True
)  # now the penalty includes it; the constraint does, too, after it is added to the optimizer
optimizer.add_param_group({"params": base[0].base_layer.parameters()})
before = penalty()
optimizer.zero_grad()
before.backward()
torch.testing.assert_close(base[0].base_layer.weight.grad, 2e-3 * frozen)
optimizer.step()
assert base[0].base_layer.weight.norm(dim=1).max() <= 0.5 + 1e-6
