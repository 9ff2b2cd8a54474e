"""A loaded model and its program: the model traced as it is, its tensors bound, both compared."""
