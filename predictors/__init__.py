"""Neural cost predictors on DCP codes: tensors in, metrics out."""
