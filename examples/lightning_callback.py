"""An existing LightningModule without changes: a callback adds the penalty and the constraint."""

import lightning.pytorch as lightning
import torch

import regtorch
from regtorch.training import RegularizationCallback


class ExistingModule(lightning.LightningModule):
    """A module without regularization."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


data = torch.utils.data.TensorDataset(torch.randn(64, 20), torch.randint(3, (64,)))
module = ExistingModule()
regularization = RegularizationCallback(
    penalties=[regtorch.WeightPenalty(module, regtorch.L2(1e-3))],
    constraints=[regtorch.WeightConstraint(module, regtorch.MaxNorm(max_value=0.5))],
)
trainer = lightning.Trainer(
    max_epochs=1, accumulate_grad_batches=2, callbacks=[regularization], logger=False, enable_checkpointing=False
)
trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=16))
print(trainer.logged_metrics["penalty"])
assert module.net[0].weight.norm(dim=1).max() <= 0.5 + 1e-6
