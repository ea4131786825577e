"""Hugging Face's Trainer: a penalty once per step, and constraints on its optimizer."""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import regtorch


class RegularizedTrainer(Trainer):
    """Adds a penalty once a step, before gradients are clipped, whatever the accumulation and the precision."""

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:  # the last batch of its step
            penalty = self.penalty()
            self.accelerator.backward(penalty)
            loss = loss + penalty.detach()
        return loss

    def create_optimizer(self, *args, **kwargs):
        optimizer = super().create_optimizer(*args, **kwargs)
        self.constraint.attach(optimizer)
        return optimizer


torch.manual_seed(0)
sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
model = BertForSequenceClassification(BertConfig(**sizes, num_labels=2))
data = [{"input_ids": torch.randint(50, (8,)), "labels": i % 2} for i in range(32)]
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder, max_steps=4, gradient_accumulation_steps=2, report_to="none", use_cpu=True, save_strategy="no"
    )
    trainer = RegularizedTrainer(model, arguments, train_dataset=data)
    trainer.penalty = regtorch.WeightPenalty(model, regtorch.L2(1e-4))  # no embeddings
    trainer.constraint = regtorch.WeightConstraint(model, regtorch.MaxNorm(max_value=0.05), where="kernel:classifier.*")
    trainer.train()
assert model.classifier.weight.norm(dim=1).max() <= 0.05 + 1e-6
