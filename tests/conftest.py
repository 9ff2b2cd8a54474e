"""Settings for all tests."""

import torch

torch.set_num_threads(1)  # the toys are so small that a second thread only waits
torch.manual_seed(0)
