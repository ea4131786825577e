"""Operations on tensors that several components share: precision, sharding, rounding, keep masks, norms."""

__all__: list[str] = []  # for the other packages only
