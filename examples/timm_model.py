"""A timm model: its DropPaths and dropouts are converted to those of regtorch, with the same probabilities."""

import timm
import torch

import regtorch

torch.manual_seed(0)
x, y = torch.randn(4, 3, 32, 32), torch.randint(10, (4,))
settings = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 10}
model = timm.create_model("vit_tiny_patch16_224", drop_rate=0.2, drop_path_rate=0.1, **settings)
regtorch.convert_dropout(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)

penalty = regtorch.WeightPenalty(model, regtorch.L2(1e-4))  # no position embedding, no normalization, no bias
for _ in range(3):
    optimizer.zero_grad()
    (torch.nn.functional.cross_entropy(model(x), y) + penalty()).backward()
    optimizer.step()

out = regtorch.MCPredictor(model, samples=20, transform="softmax")(x)
print(penalty.names, out.std)
assert any(isinstance(module, regtorch.DropPath) for module in model.modules())
